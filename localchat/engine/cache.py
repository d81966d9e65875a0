"""The KV cache: who has which slot of it, and what leaves it for the disk. Runs in the engine's process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from localchat.engine.pace import ReadingPace
from localchat.engine.sessions import Sessions, Stored
from localchat.engine.slots import Slot, choose, shared_prefix
from localchat.llama.context import Context

WORTH_RESTORING_TOKENS = 64  # what is on disk must have so many more of a prompt than what is in the cache


class Cache:
    """The slots of a context. What gives way is kept on disk, where it would take long to read it again."""

    def __init__(self, context: Context, sessions: Sessions, pace: ReadingPace) -> None:
        self._context, self._sessions, self._pace = context, sessions, pace
        self.slots = [Slot(number) for number in range(context.slots)]
        self.can_cut = True
        """Can the end of what is in a slot be forgotten? Not with every model."""
        self._uses = 0
        self._tidying: Iterator[bool] | None = None

    def seat(self, tokens: Sequence[int], *, in_one_go: bool) -> Slot:
        """Give away the slot that has most of this prompt, or make one have that. One must be free.

        What is read `in_one_go` is read as is fastest, which may be some of it once more.
        """
        wanted = tokens[:-1]  # the last token is always computed, for its logits
        choice = choose(self.slots, wanted)
        assert choice is not None, "there is a free slot"
        slot, shared = choice.slot, choice.shared
        stored = self._sessions.find(wanted)
        if stored is not None and stored.shared >= shared + WORTH_RESTORING_TOKENS and self._can_hold(stored):
            shared = self._restore(slot, stored)
        elif choice.source is not slot:
            self.vacate(slot)
            self._context.copy(choice.source.number, slot.number, shared)
            slot.tokens = choice.source.tokens[:shared]
        elif shared < len(slot.tokens):
            self._save(slot, staying=shared)
        self.cut(slot, self._begin(len(tokens), shared) if in_one_go else shared)
        slot.is_busy = True
        return slot

    def _begin(self, tokens: int, shared: int) -> int:
        """From which token on to read, where so many are there."""
        attention = self._context.attention
        return tokens - attention.tokens_to_read(tokens - shared, shared) if attention and self.can_cut else shared

    def leave(self, slot: Slot) -> None:
        """Nobody uses this slot any more; what is in it stays for now."""
        self._uses += 1
        slot.is_busy, slot.used_at = False, self._uses
        self._tidying = None

    def vacate(self, slot: Slot) -> None:
        """Take everything out of a slot, after it was kept where that is worth it."""
        self._save(slot, staying=_common(slot, self.slots))
        self.cut(slot, 0)

    def cut(self, slot: Slot, count: int) -> None:
        """Leave a slot its first tokens; none where the cache of this model cannot be cut."""
        kept = self._context.keep(slot.number, count)
        del slot.tokens[kept:]
        self.can_cut = self.can_cut and kept == count

    def make_room(self) -> bool:
        """Vacate what nobody uses and was not used for the longest time. False where all that is there is used."""
        idle = self._idle()
        if idle:
            self.vacate(idle[0])
        return bool(idle)

    def save(self) -> None:
        """Keep what would take long to read again; of what several slots have, the copy that was used last."""
        slots = sorted(self.slots, key=lambda slot: slot.used_at)
        for index, slot in enumerate(slots):
            self._save(slot, staying=_common(slot, slots[index + 1 :]))

    def tidy(self) -> bool:
        """One step towards a cache that has nothing in it but what was used last; False where none is left to do.

        To be called while nobody waits. Attention walks over all cells up to the last one with something in it, those
        of other conversations too: what is kept on disk leaves, and what remains is put where the cache begins.
        """
        if self._tidying is None:
            self._tidying = self._tidied()
        return next(self._tidying, False)

    def _tidied(self) -> Iterator[bool]:
        for slot in self._idle():
            if self._save(slot):
                yield True
        gone = [slot for slot in self._idle()[:-1] if self._sessions.has(slot.tokens)]
        for slot in gone:
            self.cut(slot, 0)
        if gone:
            self._close_gaps(self._idle())

    def _idle(self) -> list[Slot]:
        """Slots with something in them that nobody uses, the one that was used last at the end."""
        return sorted((slot for slot in self.slots if slot.tokens and not slot.is_busy), key=lambda slot: slot.used_at)

    def _close_gaps(self, slots: Sequence[Slot]) -> None:
        """Take out what is in these slots, all at once, and put it back, which is where the first free cells are."""
        lifted = [(slot, stored) for slot in slots if (stored := self._sessions.lift(self._context, slot)) is not None]
        for slot, _ in lifted:
            self.cut(slot, 0)
        for slot, stored in lifted:
            slot.tokens = self._sessions.land(self._context, slot.number, stored)

    def _can_hold(self, stored: Stored) -> bool:
        """Is there room for a session beside what is being used?"""
        taken = sum(len(slot.tokens) for slot in self.slots if slot.is_busy)
        return taken + len(stored.tokens) <= self._context.tokens

    def _restore(self, slot: Slot, stored: Stored) -> int:
        """Fill a slot from disk; how much of the prompt that is. What nobody uses leaves where there is no room."""
        self.vacate(slot)
        taken = sum(len(other.tokens) for other in self.slots)
        for other in self._idle():
            if taken + len(stored.tokens) > self._context.tokens:
                taken -= len(other.tokens)
                self.vacate(other)
        slot.tokens = self._sessions.restore(self._context, slot.number, stored)
        return min(stored.shared, len(slot.tokens))

    def _save(self, slot: Slot, staying: int = 0) -> bool:
        return self._sessions.save(self._context, slot, self._pace.token_seconds, staying)


def _common(slot: Slot, slots: Sequence[Slot]) -> int:
    """How much of the beginning of what is in a slot another one of these has as well."""
    return max((shared_prefix(slot.tokens, other.tokens) for other in slots if other is not slot), default=0)
