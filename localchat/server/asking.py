"""One request of any protocol as the engine takes it, and its replies as events."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from localchat.chat import Forgotten, TurnEvent, prompt_for, recommended, reply
from localchat.conversation import Conversation
from localchat.engine.events import Done, Engine, Piece, Usage
from localchat.errors import ContextFull
from localchat.llama.grammar import check_grammar, grammar_of_schema
from localchat.prompt.ledger import Ledger, WhenFull
from localchat.sampling import Sampling
from localchat.server.models import Models, Served, awake
from localchat.server.refusal import left
from localchat.server.said import Said, said
from localchat.server.tools import Tools, for_template, introduction, is_told_by, schema_of, with_free_text

SEEDS = 1 << 32


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a model."""

    conversation: Conversation = field(default_factory=Conversation)
    prompt: str | tuple[int, ...] | None = None
    """A text, or its tokens, to go on with; then there is no conversation."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the sampling, by the names of its fields."""
    stops: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    """The reply is JSON that obeys it."""
    tools: Tools | None = None
    when_full: WhenFull = "error"
    choices: int = 1
    """Replies that are wanted, one after the other."""


def replies(
    models: Models, served: Served, ask: Ask, seconds: float, is_wanted: Callable[[], bool]
) -> Generator[tuple[int, Said]]:
    """What each of the replies says, by its number. Raises LocalchatError; closing it stops the reply.

    What is being written when so many seconds are over ends there.
    """
    limit = time.monotonic() + seconds
    grammar = grammar_for(ask, served)
    changes = {**ask.changes, **({"grammar": grammar} if grammar else {})}
    with models.using(served, is_wanted) as engine:
        sampling = recommended(engine, served.sampling, changes)
        for choice in range(ask.choices):
            with closing(_events(engine, served, ask, _seeded(sampling, choice))) as events:
                for what in said(ended(events, limit, is_wanted), ask.tools):
                    yield choice, what


def ended(events: Iterable[TurnEvent], limit: float, is_wanted: Callable[[], bool]) -> Iterator[TurnEvent]:
    """The same; a reply that goes on at this time, of `time.monotonic`, ends as one that has become too long.

    Raises Refusal where nobody wants it any more, also while its prompt is being read.
    """
    prompt_tokens = written = 0
    for event in events:
        if not is_wanted():
            raise left()
        if isinstance(event, Ledger):
            prompt_tokens = event.used_tokens
        elif isinstance(event, Piece):
            if written and time.monotonic() > limit:
                yield Done("length", Usage(prompt_tokens, 0, written, 0.0, 0.0, 0.0))
                return
            written = max(written + 1, event.tokens)
        yield event


def count(models: Models, served: Served, ask: Ask, is_wanted: Callable[[], bool]) -> Generator[int]:
    """Tokens of the prompt, as one item."""
    with models.using(served, is_wanted) as engine:
        try:
            prompt = prompt_for(awake(engine), _told(engine, served, ask), Sampling(max_tokens=1), "error")
            yield prompt.ledger.used_tokens
        except ContextFull as error:
            yield error.need


def grammar_for(ask: Ask, served: Served) -> str:
    """The grammar that the reply must obey; empty where it is free. Raises LocalchatError for one that cannot be."""
    if ask.schema is not None:
        return grammar_of_schema(dict(ask.schema), served.path)
    if ask.tools is None:
        return ""
    grammar = grammar_of_schema(schema_of(ask.tools), served.path)
    if not ask.tools.must_call:
        grammar = with_free_text(grammar)
        check_grammar(grammar, served.path)
    return grammar


def _events(engine: Engine, served: Served, ask: Ask, sampling: Sampling) -> Generator[TurnEvent]:
    stops = (*served.stops, *ask.stops)
    if ask.prompt is not None:
        return _continued(engine, ask.prompt, sampling, stops)
    return reply(engine, _told(engine, served, ask), sampling, stops, Forgotten(), ask.when_full)


def _told(engine: Engine, served: Served, ask: Ask) -> Conversation:
    """The conversation behind what the model is told first: by the request, else by its authors; and of tools."""
    by_template = ask.tools is not None and is_told_by(engine.loaded.template)
    messages = ask.conversation.messages
    systems = [message.text for message in messages if message.role == "system"] or [served.system]
    texts = [*systems, *([introduction(ask.tools)] if ask.tools and not by_template else [])]
    system = "\n\n".join(text for text in texts if text)
    begun = Conversation(tools=for_template(ask.tools) if ask.tools and by_template else ())
    begun = begun.say("system", system) if system else begun
    return replace(begun, messages=(*begun.messages, *(one for one in messages if one.role != "system")))


def _continued(
    engine: Engine, prompt: str | tuple[int, ...], sampling: Sampling, stops: tuple[str, ...]
) -> Generator[TurnEvent]:
    """What the model writes behind a text."""
    loaded = awake(engine).loaded
    tokens = engine.tokenize([prompt])[0] if isinstance(prompt, str) else list(prompt)
    if loaded.adds_bos is not None and isinstance(prompt, str):
        tokens = [loaded.adds_bos, *tokens]
    if len(tokens) >= loaded.context:
        raise ContextFull(len(tokens), loaded.context - 1, loaded.context, "the prompt")
    with closing(engine.reply(tokens, sampling, stops)) as events:
        first = next(events)  # only the engine knows whether these are tokens of its model
        yield Ledger(loaded.context, len(tokens), 0, loaded.context - len(tokens))
        yield first
        yield from events


def _seeded(sampling: Sampling, choice: int) -> Sampling:
    """Choices with a seed differ, and are the same the next time."""
    return sampling if sampling.seed is None else replace(sampling, seed=(sampling.seed + choice) % SEEDS)
