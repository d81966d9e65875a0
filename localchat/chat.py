"""One turn of a conversation. The only reply loop of the project: every face reads the events of `reply`."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Protocol

from localchat.conversation import Conversation, Ending
from localchat.engine.events import Done, Engine, Event, Piece
from localchat.errors import LocalchatError
from localchat.prompt.ledger import Ledger, Prompt, Window, build, reply_room
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


class Forgotten:
    """A draft that is kept nowhere."""

    def save(self, text: str) -> None:
        """Nothing to do."""

    def finish(self, text: str, ending: Ending) -> None:
        """Nothing to do."""


def recommended(engine: Engine, known: Mapping[str, float], changes: Mapping[str, float | int | None]) -> Sampling:
    """How to sample: what is `known` of the model's authors, then what their file says, then the user's changes.

    Advice that makes no sense is not taken; a change that makes none raises LocalchatError.
    """
    advice = {name: value for name, value in {**known, **engine.loaded.sampling}.items() if is_sensible(name, value)}
    return overridden(overridden(Sampling(), advice), changes)


def reply(
    engine: Engine, conversation: Conversation, sampling: Sampling, stops: Sequence[str], draft: Draft
) -> Generator[TurnEvent]:
    """Answer the last question: the ledger first, then the engine's events. Closing the iterator stops the reply.

    The draft is finished however the reply ends, once the first event was asked for.
    Raises ContextFull where the question does not fit, EngineDied where the engine ended; what was written is kept.
    """
    keeper = _Keeper(draft)
    try:
        prompt = prompt_for(engine, conversation, sampling)
        yield prompt.ledger
        with closing(engine.reply(prompt.tokens, sampling, stops)) as events:
            for event in events:
                keeper.see(event)
                yield event
    except LocalchatError:
        keeper.ending = "failed"
        raise
    finally:
        keeper.finish()


def prompt_for(engine: Engine, conversation: Conversation, sampling: Sampling) -> Prompt:
    """What this engine's model reads of a conversation. Raises ContextFull where the last question does not fit."""
    loaded = engine.loaded
    window = Window(
        tokens=loaded.context,
        reply_tokens=reply_room(loaded.context, sampling.max_tokens),
        template=loaded.template,
        bos=loaded.bos,
        eos=loaded.eos,
        adds_bos=loaded.adds_bos,
    )
    return build(conversation, window, Shield(loaded.special_tokens), engine.tokenize)


class _Keeper:
    """Folds the events of a reply into its draft."""

    def __init__(self, draft: Draft) -> None:
        self._draft, self._text = draft, ""
        self.ending: Ending = "stopped"
        self._saved_at = time.monotonic()

    def see(self, event: Event) -> None:
        if isinstance(event, Piece):
            self._text += event.text
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                self._draft.save(self._text)
                self._saved_at = time.monotonic()
        elif isinstance(event, Done):
            self.ending = event.reason

    def finish(self) -> None:
        self._draft.finish(self._text, self.ending)
