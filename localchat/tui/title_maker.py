"""A title for a conversation, asked of its model after the first reply."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import closing

from localchat.chat import Forgotten, TurnEvent, reply
from localchat.conversation import Conversation
from localchat.history.store import TITLE_CHARACTERS
from localchat.sampling import Sampling
from localchat.text import one_line
from localchat.tui.chosen import manners
from localchat.tui.services import Running

WORDS, TOKENS = 6, 24
ASKED = f"Write a title for this conversation: at most {WORDS} words, in its language. Answer with the title alone."
LABEL = re.compile(r"^\W*title\W*[:\-–—]\s*", re.IGNORECASE)  # noqa: RUF001
AROUND = " \t\"'`*_#«»„“”‘’‚「」『』.,:;-–—"  # noqa: RUF001
THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)


def titling(running: Running, conversation: Conversation) -> Generator[TurnEvent]:
    """Write the title. Only the request is read: the conversation is what the engine has read and written last."""
    sampling = Sampling(temperature=0, max_tokens=TOKENS)
    asked, stops = conversation.ask(ASKED), manners(running.model).stops
    with closing(reply(running.engine, asked, sampling, stops, Forgotten())) as events:
        yield from events


def title_of(text: str) -> str:
    """The title in what a model answered: one harmless line without quotes; empty where there is none."""
    lines = (line.strip(AROUND) for line in LABEL.sub("", THINKING.sub("", text).strip()).splitlines())
    first = one_line(next(filter(None, lines), ""), 4 * TITLE_CHARACTERS)
    words = first.split()
    if len(words) > 2 * WORDS or first.casefold() in ASKED.casefold():  # it began to answer, or repeats what was asked
        return ""
    title = " ".join(words[:WORDS]) if len(words) > WORDS + 2 else first
    return one_line(title, TITLE_CHARACTERS).strip(AROUND)
