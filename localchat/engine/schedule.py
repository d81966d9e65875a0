"""All replies of one engine, step by step: each step computes the next token of every reply that is being written, and
beside them parts of the prompts, and of the texts for vectors, that are being read. Runs in the engine's process.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from localchat.engine.cache import Cache
from localchat.engine.embedding import Embedding
from localchat.engine.events import Event, Reading, TokenProbability, Waiting
from localchat.engine.guessing import Guessing
from localchat.engine.job import Job, Task, as_text, new_job
from localchat.engine.pace import ReadingPace
from localchat.engine.sessions import Sessions
from localchat.engine.share import Share, ending, part_tokens, readable_tokens, share_of
from localchat.engine.threads import Threads
from localchat.errors import LocalchatError
from localchat.llama.context import Context
from localchat.llama.model import Model
from localchat.sampling import Sampling

QUEUE_LIMIT = 64
MANY_TOKENS = 128  # take a processor so long that it is worth telling how far it is
SPARE_TOKENS = 64  # that a reply may grow by before somebody else's prompt may take the room

Told = tuple[int, Event | LocalchatError]
"""What is told to whom, by the number of the reply."""


class Schedule:
    """The replies that wait, read and write. Use `step` for as long as it is not idle."""

    def __init__(
        self, model: Model, context: Context, sessions: Sessions, tell: Callable[[int, Event], None] | None = None
    ) -> None:
        """`tell` hears in the middle of a step how far it is."""
        self._model, self._context, self._tell = model, context, tell
        self._waiting: deque[Task] = deque()
        self._active: list[Task] = []
        self._pace, self._guessing = ReadingPace(context.batch), Guessing()
        self._cache = Cache(context, sessions, self._pace)
        self._threads = Threads(context.threads, context.use_threads)
        self._was_aborted = self._was_ending = False

    @property
    def is_idle(self) -> bool:
        """Is there nothing to do?"""
        return not self._active and not self._waiting

    def add(self, number: int, tokens: Sequence[int], sampling: Sampling, stops: Sequence[str]) -> None:
        """A reply to this prompt is wanted. Raises LocalchatError where it cannot be."""
        self._check(tokens)
        job = new_job(number, tokens, sampling, stops, self._model)
        room = self._context.tokens - len(tokens)
        job.limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        self._waiting.append(job)

    def embed(self, number: int, tokens: Sequence[int]) -> None:
        """The vector of this text is wanted. Raises LocalchatError where it cannot be."""
        self._check(tokens)
        if not self._model.pools_last:
            raise LocalchatError(
                "this model makes vectors of whole texts, which is not done here", "use one that takes the last token's"
            )
        self._waiting.append(Embedding(number=number, tokens=list(tokens)))

    def _check(self, tokens: Sequence[int]) -> None:
        if self.is_idle:
            self._threads.begin()
        if not 0 < len(tokens) <= self._context.tokens:
            raise LocalchatError(
                f"a prompt of {len(tokens):,} tokens cannot be read", f"the context holds {self._context.tokens:,}"
            )
        if not all(0 <= token < self._model.vocabulary for token in tokens):
            raise LocalchatError("the prompt has tokens that the model does not know", "use this model's own tokenizer")
        if len(self._waiting) >= QUEUE_LIMIT:
            raise LocalchatError(f"{QUEUE_LIMIT} replies are waiting already", "ask again when some are done")

    def cancel(self, numbers: set[int]) -> None:
        """These replies are not wanted any more; what was read and written stays in the cache.

        Whoever is cancelled after this is called interrupts the next step.
        """
        for job in [job for job in (*self._active, *self._waiting) if job.number in numbers]:
            self._leave(job)

    def interrupt(self) -> None:
        """Break off the step that is under way; may be called from another thread."""
        self._context.abort()

    def resume(self) -> None:
        """What was to be interrupted is over."""
        self._context.ready()

    def step(self) -> Iterator[Told]:
        """Compute once, and say what came of it."""
        yield from self._admit()
        self._threads.adapt()
        shares = self._shares()
        if not shares:
            return
        for share in shares:
            if share.job.is_first:  # what made room for others is read again in silence: a reply has begun
                yield share.job.number, Reading(len(share.job.known), len(share.job.tokens))
        started = time.perf_counter()
        try:
            outcome, outputs = self._context.decode([share.part for share in shares], self._report(shares))
        except LocalchatError as error:
            yield from self._fail(shares, error)
            return
        self._was_aborted = outcome == "aborted"
        if outcome == "full":
            self._make_room()
        elif outcome == "aborted":
            self._take_back(shares)
        else:
            self._learn(shares, time.perf_counter() - started)
            yield from self._advance(shares, outputs)

    def save_sessions(self) -> None:
        """Keep what is in the cache and would take long to read again."""
        self._cache.save()

    def tidy(self) -> bool:
        """Use the time in which it is idle for one step of what makes later ones faster; False where none is left."""
        return self._cache.tidy()

    # Coming and going

    def _admit(self) -> Iterator[Told]:
        """Give slots to those that wait, in their order, for as long as there is room for them."""
        while self._waiting:
            job = self._waiting[0]
            if self._active and (len(self._active) == len(self._cache.slots) or not self._has_room(job)):
                break
            self._waiting.popleft()
            job.slot = self._cache.seat(job.tokens, in_one_go=not self._active and isinstance(job, Job))
            if job.is_first:
                job.cached_tokens = len(job.slot.tokens)
            if isinstance(job, Embedding):
                job.found_tokens = len(job.slot.tokens)
            self._active.append(job)
        for job in self._waiting:
            if job.is_first and not job.was_told_to_wait:
                job.was_told_to_wait = True
                yield job.number, Waiting()

    def _has_room(self, job: Task) -> bool:
        """Is there room for this prompt beside what the active ones have and will soon have?"""
        taken = sum(len(other.tokens) + SPARE_TOKENS for other in self._active)
        return taken + len(job.tokens) + SPARE_TOKENS <= self._context.tokens

    def _leave(self, job: Task) -> None:
        """A job is over: its slot may be given to another."""
        if job.slot is not None:
            self._cache.leave(job.slot)
            if isinstance(job, Embedding):
                self._cache.cut(job.slot, min(job.found_tokens, len(job.known)))
                job.slot.used_at = 0  # conversations stay for longer than what is left of it
            job.slot = None
        if job in self._active:
            self._active.remove(job)
        elif job in self._waiting:
            self._waiting.remove(job)
        job.close()

    def _make_room(self) -> None:
        """The cache is full: what nobody uses leaves it, the oldest first; then the youngest reply waits."""
        if self._cache.make_room():
            return
        youngest = self._active.pop()
        assert self._active, "one prompt alone is never longer than the context"
        slot, youngest.slot = youngest.slot, None
        assert slot is not None, "it was active"
        slot.is_busy = False
        self._cache.vacate(slot)
        self._waiting.appendleft(youngest)

    # One step

    def _shares(self) -> list[Share]:
        """What each job has computed next: a token where it writes, a part of the rest where it reads."""
        writing = [job for job in self._active if isinstance(job, Job) and not job.is_reading]
        reading = [job for job in self._active if job not in writing]
        tried = self._guesses(writing) if writing and not reading and self._cache.can_cut else [()] * len(writing)
        shares = [share_of(job, 1, guesses) for job, guesses in zip(writing, tried, strict=True)]
        if writing and not self._pace.step_seconds:
            return shares  # how long writing takes alone decides how much is read beside it
        is_short = bool(writing) or self._was_aborted  # in small steps, what is broken off often gets on all the same
        crowd = len(reading) / max(1, len(writing))
        room = self._pace.slice_tokens(are_others_writing=is_short, crowd=crowd, beside=len(shares))
        ends = self._ending(reading, min(room, self._context.outputs - len(shares)))
        if ends:
            return [*shares, *(share_of(job, job.pending) for job in ends)]
        reading = [job for job in reading if readable_tokens(job)]
        for index, job in enumerate(reading):
            fair = max(1, room // (len(reading) - index))
            shares.append(share_of(job, part_tokens(job, fair)))
            room -= len(shares[-1].part.tokens)
            if room <= 0:
                break
        return shares

    def _guesses(self, writing: Sequence[Job]) -> list[Sequence[int]]:
        free = self._context.tokens - sum(len(job.tokens) for job in writing)
        return self._guessing.beside(writing, min(free, self._context.batch - len(writing)))

    def _ending(self, reading: Sequence[Task], room: int) -> list[Embedding]:
        """The texts that end in this step, if it is one in which texts end: nobody reads on in it.

        Who reads has every second step, however many short texts come.
        """
        ends = ending(reading, room)
        if self._was_ending and len(ends) < len(reading):
            ends = []
        self._was_ending = bool(ends)
        return ends

    def _report(self, shares: Sequence[Share]) -> Callable[[float], None] | None:
        """Who tells how far this step is: a long one that reads."""
        readers = [share for share in shares if share.job.is_first]  # who has written nothing, reads
        if self._tell is None or sum(len(share.part.tokens) for share in readers) < MANY_TOKENS:
            return None
        tell = self._tell

        def report(fraction: float) -> None:
            for share in readers:
                done = len(share.job.known) + int(fraction * len(share.part.tokens))
                tell(share.job.number, Reading(done, len(share.job.tokens)))

        return report

    def _learn(self, shares: Sequence[Share], seconds: float) -> None:
        tokens = sum(len(share.part.tokens) for share in shares)
        is_writing = all(share.part.outputs == len(share.part.tokens) for share in shares)
        if not is_writing:
            self._pace.learn(tokens, seconds)
            return
        if tokens == len(shares) or len(shares) > 1:
            self._pace.learn_step(seconds)
        self._guessing.learn(len(shares), tokens, seconds)

    def _take_back(self, shares: Sequence[Share]) -> None:
        """A step was broken off: nothing of it counts."""
        for share in shares:
            self._cache.cut(share.slot, share.part.position)

    def _fail(self, shares: Sequence[Share], error: LocalchatError) -> Iterator[Told]:
        self._take_back(shares)
        for share in shares:
            self._leave(share.job)
            yield share.job.number, error

    def _advance(self, shares: Sequence[Share], outputs: Sequence[range]) -> Iterator[Told]:
        for share, numbers in zip(shares, outputs, strict=True):
            share.job.known.extend(share.part.tokens)
            if not numbers:
                continue
            try:
                if isinstance(share.job, Job):
                    yield from self._write(share.job, share, numbers)
                elif isinstance(share.job, Embedding):
                    yield share.job.number, share.job.end(self._context.embedding(numbers[-1]))
                    self._leave(share.job)
            except LocalchatError as error:
                self._leave(share.job)
                yield share.job.number, error

    def _write(self, job: Job, share: Share, numbers: range) -> Iterator[Told]:
        """Take the token behind the last one and, for as long as the guesses were right, those behind them."""
        right = 0
        if job.is_first:
            job.read_at = time.perf_counter()
            yield job.number, Reading(len(job.tokens), len(job.tokens))
        while not job.is_over:
            token = job.sampler.sample(self._context.handle, numbers[right])
            if piece := job.take(token, self._probability(job, numbers[right], token)):
                yield job.number, piece
            if right == len(share.guesses) or token != share.guesses[right]:
                break
            right += 1
        job.lookup.learn(len(share.guesses), right)
        self._settle(share, right)
        if job.is_over:
            yield from ((job.number, event) for event in job.finish(self._threads.count))
            self._leave(job)

    def _settle(self, share: Share, right: int) -> None:
        """Forget the guesses that were wrong."""
        if right < len(share.guesses):
            self._cache.cut(share.slot, share.part.position + len(share.part.tokens) - len(share.guesses) + right)

    def _probability(self, job: Job, output: int, token: int) -> TokenProbability | None:
        if job.sampling.logprobs is None:
            return None
        return as_text(job.sampler.probabilities(self._context.handle, output, token), self._model)
