"""One turn of a conversation. The only reply loop of the project: every face reads the events of `reply`."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Protocol, runtime_checkable

from localchat.conversation import Conversation, Ending
from localchat.engine.events import Done, Engine, Event, Loading, Piece, Remote
from localchat.errors import LocalchatError
from localchat.prompt.ledger import Ledger, Prompt, WhenFull, Window, build, reply_room
from localchat.prompt.tokens import Shield
from localchat.sampling import Sampling, is_sensible, overridden

SAVE_SECONDS = 0.5

TurnEvent = Ledger | Event


class Draft(Protocol):
    """Where a reply is kept while it is written, so that nothing that was shown is lost with the process."""

    def save(self, text: str) -> None:
        """Keep the text so far."""

    def finish(self, text: str, ending: Ending) -> None:
        """Keep the whole reply and how it ended."""


@runtime_checkable
class Sleeper(Protocol):
    """An engine whose model may not be in memory, or be loaded with less context the next time."""

    def wake(self) -> Iterator[Loading]:
        """Load it, if it is not; yields how far that is."""


class Forgotten:
    """A draft that is kept nowhere."""

    def save(self, text: str) -> None:
        """Nothing to do."""

    def finish(self, text: str, ending: Ending) -> None:
        """Nothing to do."""


def recommended(
    engine: Engine | Remote, known: Mapping[str, float], changes: Mapping[str, float | int | None]
) -> Sampling:
    """How to sample: what is `known` of the model's authors, then what their file says, then the user's changes.

    Advice that makes no sense is not taken; a change that makes none raises LocalchatError.
    """
    advice = {name: value for name, value in {**known, **engine.loaded.sampling}.items() if is_sensible(name, value)}
    return overridden(overridden(Sampling(), advice), changes)


def reply(
    engine: Engine | Remote, conversation: Conversation, sampling: Sampling, stops: Sequence[str], draft: Draft,
    when_full: WhenFull = "drop",
) -> Generator[TurnEvent]:  # fmt: skip
    """Answer the last question: the ledger once the model is loaded, then the engine's events.

    Closing the iterator stops the reply.

    The draft is finished however the reply ends, once the first event was asked for.
    Raises ContextFull where the question does not fit, or with `when_full="error"` the conversation; EngineDied where
    the engine ended; what was written is kept.
    """
    keeper = _Keeper(draft)
    try:
        with closing(_events(engine, conversation, sampling, stops, when_full)) as events:
            for event in events:
                keeper.see(event)
                yield event
    except LocalchatError:
        keeper.ending = "failed"
        raise
    finally:
        keeper.finish()


def _events(
    engine: Engine | Remote, conversation: Conversation, sampling: Sampling, stops: Sequence[str], when_full: WhenFull
) -> Generator[TurnEvent]:
    """The account of the prompt, then the engine's events; a server makes its prompt and keeps account of it itself."""
    if isinstance(engine, Remote):
        yield Ledger(window_tokens=engine.loaded.context, used_tokens=0, dropped_turns=0)
        yield from engine.answer(conversation.messages, sampling, stops)
    else:
        if isinstance(engine, Sleeper):
            yield from engine.wake()  # only then is it known how long the prompt may be
        prompt = prompt_for(engine, conversation, sampling, when_full)
        yield prompt.ledger
        yield from engine.reply(prompt.tokens, sampling, stops)


def prompt_for(engine: Engine, conversation: Conversation, sampling: Sampling, when_full: WhenFull = "drop") -> Prompt:
    """What this engine's model reads of a conversation. Raises ContextFull where what must be in it does not fit."""
    loaded = engine.loaded
    window = Window(
        tokens=loaded.context,
        reply_tokens=reply_room(loaded.context, sampling.max_tokens),
        template=loaded.template,
        bos=loaded.bos,
        eos=loaded.eos,
        adds_bos=loaded.adds_bos,
        tools=conversation.tools,
    )
    return build(conversation, window, Shield(loaded.special_tokens), engine.tokenize, when_full)


class _Keeper:
    """Folds the events of a reply into its draft."""

    def __init__(self, draft: Draft) -> None:
        self._draft, self._text = draft, ""
        self.ending: Ending = "stopped"
        self._saved_at = time.monotonic()

    def see(self, event: TurnEvent) -> None:
        if isinstance(event, Piece):
            self._text += event.text
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                self._draft.save(self._text)
                self._saved_at = time.monotonic()
        elif isinstance(event, Done):
            self.ending = event.reason

    def finish(self) -> None:
        self._draft.finish(self._text, self.ending)
