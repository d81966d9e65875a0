"""How the turn at hand has gone so far: its phase, its times, and the rate by now. Pure; the clock comes from outside.

A rate is measured over the last two seconds and changes on the screen twice a second at most, so that it can be read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from localchat.chat import TurnEvent
from localchat.engine.events import Done, Piece, Reading
from localchat.prompt.ledger import Ledger
from localchat.slowness import Phase

WINDOW_SECONDS = 2.0
STEADY_SECONDS = 0.5  # between changes of what is shown, and before the first
ENOUGH_TOKENS = 16  # of a reply: before so many its rate is not held against it
ENOUGH_READ_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Course:
    """One turn. Times are those of the clock."""

    phase: Phase = "rest"
    began_at: float | None = None
    first_token_seconds: float = 0.0
    """0 before the first token."""
    reading_at: float = 0.0
    reading_from: int = 0
    """Tokens that were done when the first word of reading came."""
    reading_tokens: int = 0
    """That are to be read in this turn."""
    reading_seconds: float | None = None
    """That all of this will take, as far as it is known."""
    read_rate: float = 0.0
    """Tokens a second at which prompts were read before."""
    marks: tuple[tuple[float, int], ...] = ()
    """Times, and tokens written by then, of the last two seconds."""
    tokens_per_second: float = 0.0
    """To be shown; 0 while it is not known."""
    shown_at: float = 0.0
    beside: int = 0
    """The most other conversations that were answered meanwhile."""

    @property
    def tokens(self) -> int:
        """Of the reply so far."""
        return self.marks[-1][1] if self.marks else 0


def followed(course: Course, event: TurnEvent, at: float) -> Course:
    """The course when this event has come."""
    match event:
        case Ledger():
            return Course("starting", began_at=at, read_rate=course.read_rate)
        case Reading(done, total) if course.phase in ("starting", "reading") and done < total:
            return _read(course, done, total, at)
        case Piece(tokens=tokens):
            return _written(course, tokens, at)
        case Done(usage=usage):
            is_much = usage.prompt_tokens - usage.cached_tokens >= ENOUGH_READ_TOKENS
            rate = usage.prompt_tokens_per_second if is_much else 0.0
            return replace(course, phase="rest", read_rate=rate or course.read_rate)
    return course


def accompanied(course: Course, others: int) -> Course:
    """The course when so many other conversations are answered."""
    return replace(course, beside=max(course.beside, others))


def ticked(course: Course, at: float) -> Course:
    """The course when time has passed without an event: a rate that was shown sinks while nothing comes."""
    if course.phase != "writing" or at - course.shown_at < STEADY_SECONDS:
        return course
    return _shown(course, at)


def _read(course: Course, done: int, total: int, at: float) -> Course:
    if course.phase == "starting":
        count = total - done
        known = count / course.read_rate if course.read_rate else None
        return replace(
            course, phase="reading", reading_at=at, reading_from=done, reading_tokens=count, reading_seconds=known
        )
    seconds, count = at - course.reading_at, done - course.reading_from
    if count <= 0 or seconds <= 0:
        return course
    return replace(course, reading_seconds=seconds * course.reading_tokens / count)


def _written(course: Course, tokens: int, at: float) -> Course:
    recent = tuple(mark for mark in course.marks if at - mark[0] <= WINDOW_SECONDS)
    marks = (*(recent or course.marks[-1:]), (at, tokens))
    first = course.first_token_seconds or (at - course.began_at if course.began_at is not None else 0.0)
    course = replace(course, phase="writing", marks=marks, first_token_seconds=first)
    since = course.shown_at or marks[0][0]
    return _shown(course, at) if at - since >= STEADY_SECONDS else course


def _shown(course: Course, at: float) -> Course:
    """A pause that is longer than usual counts; the time since the last piece does not otherwise."""
    (first_at, first), (last_at, last) = course.marks[0], course.marks[-1]
    end = at if at - last_at > STEADY_SECONDS else last_at
    rate = (last - first) / (end - first_at) if end > first_at else 0.0
    return replace(course, tokens_per_second=rate, shown_at=at)
