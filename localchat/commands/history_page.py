"""Conversations for a person: lists by day, what was found with the found words marked, and one in full."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from localchat.history.days import by_day, when
from localchat.history.export import speaker
from localchat.history.saved import Heading, Hit, Saved
from localchat.text import clean, one_line

NUMBER_CELLS, TIME_CELLS, PLAIN_CELLS = 6, 18, 100


def print_days(headings: Sequence[Heading]) -> None:
    """A heading for each day and a line for each conversation."""
    space = ""
    for day, group in by_day(headings, datetime.now().astimezone().date()):
        _print((f"{space}{day}", "bold"))
        space = "\n"
        for heading in group:
            _print_line(heading)


def print_hits(hits: Sequence[Hit]) -> None:
    """A line for each conversation, and beneath it what was found, marked."""
    for hit in hits:
        _print_line(hit.heading)
        if hit.message:
            _print(
                (" " * (NUMBER_CELLS + 2), ""),
                *((text, "bold yellow" if is_found else "") for text, is_found in hit.pieces),
            )


def print_conversation(heading: Heading | None, messages: Sequence[Saved]) -> None:
    """One conversation; its texts are moved in, so that none can pass for another."""
    if heading is not None:
        _print((one_line(heading.title), "bold"))
        _print((f"{when(heading.updated_at)} · {one_line(heading.model)}", "dim"))
    for message in messages:
        _print((f"\n{speaker(message)}", "bold"))
        for line in clean(message.text).split("\n"):
            _print((f"  {line}".rstrip(), ""))


def heading_facts(heading: Heading) -> dict[str, Any]:
    """A conversation as programs read it."""
    return asdict(heading)


def hit_facts(hit: Hit) -> dict[str, Any]:
    """What was found as programs read it; `found` are the marked pieces of `text`."""
    return {
        **heading_facts(hit.heading),
        "message": hit.message or None,
        "text": "".join(text for text, _ in hit.pieces),
        "found": [text for text, is_found in hit.pieces if is_found],
    }


def _print_line(heading: Heading) -> None:
    width = max(40, shutil.get_terminal_size((PLAIN_CELLS, 24)).columns) - NUMBER_CELLS - TIME_CELLS - 2
    title = one_line(heading.title, width)
    space = " " * max(2, width - cell_len(title))
    _print((f"{heading.id:>{NUMBER_CELLS}}  {title}{space}", ""), (when(heading.updated_at), "dim"))


def _print(*pieces: tuple[str, str]) -> None:
    """A line on standard output, with styles where that is a terminal; never wrapped, for programs cut it up."""
    Console(highlight=False).print(Text.assemble(*pieces), soft_wrap=True)
