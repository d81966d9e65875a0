"""Stop strings in a stream: text that may be the beginning of one is held back until it is clear."""

from __future__ import annotations

from collections.abc import Sequence


class StopScanner:
    """Feed it the pieces of a reply; it gives back what may be shown."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False
        self.stop = ""
        """The one that was complete first."""

    def feed(self, text: str) -> str:
        """What may be shown now. Once a stop string is complete, `stopped` is true and nothing more comes."""
        self._held += text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            # The one that is complete first counts, however the text was split.
            self.stopped = True
            _, at, self.stop = min(found)
            shown, self._held = self._held[:at], ""
            return shown
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def finish(self) -> str:
        """What was held back, now that no more text comes."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins the stop string."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
