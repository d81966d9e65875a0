"""What each of those that read and write has computed in a step of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localchat.engine.embedding import Embedding
from localchat.engine.job import Task
from localchat.engine.slots import Slot
from localchat.llama.attention import TILE_TOKENS
from localchat.llama.batch import Part


@dataclass(frozen=True, slots=True)
class Share:
    """What one job has computed in a step."""

    job: Task
    slot: Slot
    part: Part
    guesses: Sequence[int] = ()


def share_of(job: Task, most: int, guesses: Sequence[int] = ()) -> Share:
    """Up to so many of the tokens that are next, and guesses behind the last one."""
    assert job.slot is not None, "an active job has a slot"
    position = len(job.slot.tokens)
    tokens = [*job.tokens[position : position + most], *guesses]
    is_last = position + most >= len(job.tokens)
    outputs = 1 + len(guesses) if is_last else 0
    part = Part(job.slot.number, position, tokens, outputs, is_last and isinstance(job, Embedding))
    return Share(job, job.slot, part, guesses)


def part_tokens(task: Task, room: int) -> int:
    """How many of its tokens to read in a step with so much room; of a long text none but a whole tile is left over."""
    readable = readable_tokens(task)
    is_rest_short = 2 * TILE_TOKENS <= room < readable < room + TILE_TOKENS  # what comes first is a tile as well
    return readable - TILE_TOKENS if is_rest_short else min(readable, room)


def ending(reading: Sequence[Task], room: int) -> list[Embedding]:
    """The texts that can end in one step of so many tokens."""
    found: list[Embedding] = []
    for task in reading:
        if isinstance(task, Embedding) and task.pending <= room:
            found.append(task)
            room -= task.pending
    return found


def readable_tokens(task: Task) -> int:
    """How many of its tokens may be read beside those of others: all but the last one of a text for a vector."""
    return task.pending - isinstance(task, Embedding)
