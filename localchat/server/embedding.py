"""Texts of one request as the engine takes them, and their vectors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from localchat.engine.events import Embedded, Event, Loaded
from localchat.engine.vector import shortened, unpacked
from localchat.server.models import Held, Models, Served, awake
from localchat.server.refusal import Refusal

AT_ONCE = 2  # texts of one request that are in the engine: 32 short ones took 1.75 s; by one 2.1, by four 2.1

Texts = Sequence[str] | Sequence[Sequence[int]]
"""Texts, or their tokens."""


def vectors(
    models: Models, served: Served, texts: Texts, dimensions: int | None, is_wanted: Callable[[], bool]
) -> Generator[Event]:
    """Events of all texts, among them their vectors in their order. Raises LocalchatError; closing it ends the work."""
    with models.using(served, is_wanted) as engine:
        awake(engine)
        with closing(_overlapping(engine, _prompts(engine, texts))) as events:
            for event in events:
                yield _shortened(event, dimensions) if dimensions and isinstance(event, Embedded) else event


def _prompts(engine: Held, texts: Texts) -> list[list[int]]:
    """Tokens of each text, between those that the model's authors put around it. Raises Refusal for one too long."""
    loaded = engine.loaded
    plain = [text for text in texts if isinstance(text, str)]
    found = [_surrounded(tokens, loaded) for tokens in engine.tokenize(plain)] if plain else []
    found += [list(text) for text in texts if not isinstance(text, str)]
    longest = max(map(len, found))
    if longest > loaded.context:
        raise Refusal(
            400, "context_length_exceeded", f"a text of {longest:,} tokens does not fit into {loaded.context:,}",
            "make vectors of its parts", param="input",
        )  # fmt: skip
    return found


def _surrounded(tokens: Sequence[int], loaded: Loaded) -> list[int]:
    before, after = ([] if token is None else [token] for token in (loaded.adds_bos, loaded.adds_eos))
    return [*before, *tokens, *after]


def _overlapping(engine: Held, prompts: Sequence[Sequence[int]]) -> Generator[Event]:
    """The events of each, one after the other; the next ones have been asked for by then."""
    begun: deque[tuple[Event, Generator[Event]]] = deque()
    try:
        for prompt in prompts:
            events = engine.embed(prompt)
            begun.append((next(events), events))  # which asks for it
            if len(begun) == AT_ONCE:
                yield from _rest(*begun.popleft())
        while begun:
            yield from _rest(*begun.popleft())
    finally:
        for _, events in begun:
            events.close()


def _rest(first: Event, events: Generator[Event]) -> Iterator[Event]:
    with closing(events):
        yield first
        yield from events


def _shortened(found: Embedded, dimensions: int) -> Embedded:
    known = len(unpacked(found.vector))
    if dimensions > known:
        raise Refusal(400, "invalid_request", f"the model's vectors have {known:,} dimensions", param="dimensions")
    return replace(found, vector=shortened(found.vector, dimensions))
