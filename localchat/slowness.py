"""Why a reply is slow when it is, in one sentence. A pure function of facts; `conditions` looks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from localchat.llama.placement import HOST
from localchat.plan.places import gpu_name, gpu_names
from localchat.plan.plan import Plan
from localchat.text import duration, size

BEHIND = 0.75  # of the rate that was expected: predictions were up to a fifth too high for some types
READING_RATE = 5.0  # tokens a second: about as fast as people read
EASY_RATE = 10.0  # below this a better place for the model would be felt
STALLED = 0.1  # of the time; with this much waiting the work itself is no longer what takes time
SWAPPED_BYTES = 8 << 20  # a second
LITTLE_BYTES, LITTLE_PART = 256 << 20, 0.025  # of all memory: from here on systems take pages from running programs
LONG_READING_SECONDS, LONG_START_SECONDS = 5.0, 5.0
BUSY_CORES = 0.5  # of other programs: from here on they are felt
LOW_CLOCK = 0.6  # of the highest; with all cores at work four fifths are usual
LONG_TOKENS = 2048

Phase = Literal["rest", "starting", "reading", "writing"]
"""Of a turn; `starting` is before the first token of the prompt is read."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the machine lives with at one moment. None is what is not known; parts are from 0 to 1."""

    other_cores: float | None = None
    """That other programs keep busy."""
    threads: int | None = None
    """That computed the newest reply in the end."""
    cores: int = 1
    """Logical ones that this process may use."""
    on_battery: bool | None = None
    saves_power: bool = False
    """Is it set to a profile that trades speed for power?"""
    clock: float | None = None
    """Of the core that runs fastest, as a part of the highest that there is."""
    memory_stall: float | None = None
    """The part of the last ten seconds in which some program waited for memory."""
    disk_stall: float | None = None
    """The same for the disk."""
    swapped_bytes_per_second: float | None = None
    """What came back from swap."""
    available_bytes: int | None = None
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a reply that is being written, or was."""

    plan: Plan
    phase: Phase = "rest"
    tokens_per_second: float | None = None
    """Rate of writing by now; None where too little was written."""
    seen_tokens_per_second: float | None = None
    """The best that this model was seen to write here before."""
    is_first: bool = False
    """Is it the first reply since the model was loaded?"""
    waited_seconds: float = 0.0
    """Since the turn began."""
    reading_tokens: int = 0
    """Of the prompt, those that were not known from before."""
    reading_seconds: float | None = None
    """That reading all of them takes, estimated."""
    context_tokens: int = 0
    """Prompt and reply together."""
    beside: int = 0
    """Other conversations that the same engine answers, or answered while this reply was written."""
    unused_gpu: str = ""
    """One that is there and that this build of llama.cpp does not use."""
    now: Conditions = field(default_factory=Conditions)

    @property
    def expected(self) -> float | None:
        """The rate that it could have: the best of what was seen and predicted."""
        known = [rate for rate in (self.seen_tokens_per_second, self.plan.tokens_per_second) if rate]
        return max(known, default=None)

    @property
    def is_behind(self) -> bool:
        """Is it slower than expected?"""
        rate, expected = self.tokens_per_second, self.expected
        return bool(rate and expected and rate < BEHIND * expected)

    def is_below(self, rate: float) -> bool:
        """Is it known to be slower than this?"""
        return bool(self.tokens_per_second and self.tokens_per_second < rate)

    @property
    def is_slow(self) -> bool:
        """Is it slower than expected, or than people read?"""
        return self.is_behind or self.is_below(READING_RATE)


def why_slow(facts: Facts) -> str | None:
    """The cause that matters most, as a sentence without its full stop; None where all goes as expected."""
    return next((sentence for cause in CAUSES if (sentence := cause(facts))), None)


def _memory(facts: Facts) -> str | None:
    now = facts.now
    if (now.swapped_bytes_per_second or 0) >= SWAPPED_BYTES:
        return f"memory is short: {size(now.swapped_bytes_per_second or 0)} a second come back from swap"
    if (now.memory_stall or 0) >= STALLED:
        return f"memory is short: programs wait for it {now.memory_stall:.0%} of the time"
    is_little = now.available_bytes is not None and now.available_bytes < max(
        LITTLE_BYTES, LITTLE_PART * now.total_bytes
    )
    if is_little and (facts.is_slow or facts.phase == "starting"):
        return f"memory is short: {size(now.available_bytes or 0)} of {size(now.total_bytes)} are free"
    return None


def _cold(facts: Facts) -> str | None:
    """The first reply, while the model still comes from the disk. Without a word from the disk, time tells."""
    if not facts.is_first or facts.phase == "rest":
        return None
    stall, sentence = facts.now.disk_stall, "cold start: the model is still being read from the disk"
    if stall is not None:
        return sentence if stall >= STALLED and (facts.phase != "writing" or facts.is_behind) else None
    is_late = facts.phase == "starting" and facts.waited_seconds >= LONG_START_SECONDS
    return sentence if is_late or (facts.phase == "writing" and facts.is_behind) else None


def _reading(facts: Facts) -> str | None:
    if facts.phase != "reading" or (facts.reading_seconds or 0) < LONG_READING_SECONDS:
        return None
    return f"reading {facts.reading_tokens:,} tokens takes about {duration(facts.reading_seconds or 0)} here"


def _others(facts: Facts) -> str | None:
    others, cores = facts.now.other_cores or 0, facts.now.cores
    felt = BUSY_CORES if facts.plan.fits != "gpu" else max(BUSY_CORES, cores - BUSY_CORES)
    if not facts.is_slow or others < felt:
        return None
    sentence = f"other programs use {others:.1f} of {cores} core{'' if cores == 1 else 's'}"
    threads = facts.now.threads or facts.plan.threads
    return sentence if threads >= facts.plan.threads else f"{sentence}, which leaves {threads} for the model"


def _beside(facts: Facts) -> str | None:
    if not facts.is_slow or not facts.beside:
        return None
    if facts.beside == 1:
        return "another conversation is answered at the same time"
    return f"{facts.beside} other conversations are answered at the same time"


def _battery(facts: Facts) -> str | None:
    return "the machine runs on its battery" if facts.is_slow and facts.now.on_battery else None


def _power(facts: Facts) -> str | None:
    return "the machine is set to save power" if facts.is_slow and facts.now.saves_power else None


def _clock(facts: Facts) -> str | None:
    clock = facts.now.clock
    if not facts.is_slow or facts.plan.fits == "gpu" or facts.phase != "writing" or not clock or clock >= LOW_CLOCK:
        return None
    return f"the processor runs at {clock:.0%} of its clock rate: it is hot, or saves power"


def _long(facts: Facts) -> str | None:
    if not facts.is_behind or facts.context_tokens < LONG_TOKENS:
        return None
    return f"the conversation is long: each new token looks at {facts.context_tokens:,} others"


def _spilled(facts: Facts) -> str | None:
    plan = facts.plan
    if plan.fits != "partial" or not facts.is_below(EASY_RATE):
        return None
    if plan.gpu_layers > plan.layers:
        what = f"the experts of {plan.layout.experts_on_host} of {plan.layers} layers are in main memory"
    else:
        what = f"{plan.layers + 1 - plan.gpu_layers} of {plan.layers + 1} layers run on the CPU"
    return f"{what}: {gpu_names(plan)} cannot hold them all"


def _unused(facts: Facts) -> str | None:
    if not facts.unused_gpu or facts.plan.fits != "memory" or not facts.is_below(EASY_RATE):
        return None
    return f"{gpu_name(facts.unused_gpu)} is there, but this llama.cpp does not use it"


def _unknown(facts: Facts) -> str | None:
    if not facts.is_behind:
        return None
    verb = "were predicted" if facts.expected == facts.plan.tokens_per_second else "were seen here before"
    return f"{facts.expected:.1f} tokens/s {verb}; what holds it back is not known"


def _large(facts: Facts) -> str | None:
    count = sum(sum(part.use.active.values()) for part in facts.plan.predicted if part.use.name == HOST)
    if facts.plan.fits != "memory" or not facts.is_below(READING_RATE) or not count:
        return None
    return f"the processor reads {size(count)} of weights for each token"


# What stops the work comes first, then what will pass, then what stays as long as the model is loaded like this.
CAUSES: tuple[Callable[[Facts], str | None], ...] = (
    _memory, _cold, _reading, _others, _beside, _battery, _power, _clock, _long, _spilled, _unused, _unknown, _large,
)  # fmt: skip
