"""Walking through what was typed earlier, as in a shell."""

from __future__ import annotations

from collections.abc import Sequence


class Recall:
    """Earlier inputs, the latest last, and behind them the one that is being typed."""

    def __init__(self, inputs: Sequence[str], typed: str) -> None:
        self._inputs = [*(text for text in inputs if text != typed), typed]
        self._place = len(self._inputs) - 1

    @property
    def current(self) -> str:
        """The input where the walk is now."""
        return self._inputs[self._place]

    def step(self, step: int) -> str | None:
        """Go one further back (-1) or forth (+1); None where there is nothing."""
        place = self._place + step
        if not 0 <= place < len(self._inputs):
            return None
        self._place = place
        return self.current
