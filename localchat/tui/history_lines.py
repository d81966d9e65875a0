"""Conversations as the history screen shows them: rows of the list, and the page beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from textual.content import Content
from textual.widgets.option_list import Option

from localchat.history.days import by_day, local, when
from localchat.history.export import speaker
from localchat.history.marking import MATCHES_LIMIT, Pattern, beginnings, folded, literally, marked, words_of
from localchat.history.saved import Heading, Hit, Saved
from localchat.text import clean, counted, one_line
from localchat.tui.rows import section

FOUND = "bold underline $accent"
FAINT = "$foreground-muted"
NOWHERE: Pattern = re.compile(r"(?!)")
TIME_CELLS = 6
PAGE_MESSAGES, PAGE_CHARACTERS, BEFORE_CHARACTERS = 14, 700, 150


def day_rows(headings: Iterable[Heading], today: date, current: int | None) -> Iterator[Option]:
    """A row for each conversation, below a line for its day."""
    for day, group in by_day(headings, today):
        yield section(day)
        for heading in group:
            title = Content.styled(one_line(heading.title, 100), "bold" if heading.pinned else "")
            time = _time(heading, today, has_day=not heading.pinned)
            yield Option(_row(heading, title, time, current), str(heading.id))


def hit_rows(hits: Sequence[Hit], pattern: Pattern, today: date, current: int | None) -> Iterator[Option]:
    """A row for each conversation that was found, with the line in which it was."""
    if hits:
        yield section("1 conversation" if len(hits) == 1 else f"{len(hits)} conversations")
    for hit in hits:
        time = _time(hit.heading, today, has_day=False)
        row = _row(hit.heading, pieces(marked(hit.heading.title, pattern)), time, current)
        if hit.message:
            row = Content.assemble(row, "\n" + " " * (TIME_CELLS + 4), pieces(hit.pieces).stylize_before(FAINT))
        yield Option(row, str(hit.heading.id))


def pattern_for(typed: str, hits: Sequence[Hit]) -> Pattern:
    """What was searched for as it is to be marked: as words, or where no word was found as it stands."""
    pattern = beginnings(words) if (words := words_of(typed)) else NOWHERE
    found = any(pattern.search(folded(text)) for hit in hits for text, is_found in hit.pieces if is_found)
    return pattern if found or not typed.strip() else literally(typed.strip())


def _row(heading: Heading, title: Content, time: str, current: int | None) -> Content:
    sign = "▸ " if heading.id == current else "  "
    facts = f"   {counted(heading.messages, 'message')} · {one_line(heading.model, 60)}"
    return Content.assemble((sign, "bold $primary"), (f"{time:>{TIME_CELLS}}  ", FAINT), title, (facts, FAINT))


def _time(heading: Heading, today: date, *, has_day: bool) -> str:
    """The time, where the day is said above it or is today; else the day."""
    time = local(heading.updated_at)
    if time is None:
        return ""
    if has_day or time.date() == today:
        return f"{time:%H:%M}"
    return f"{time.day} {time:%b}" if time.year == today.year else f"{time:%Y}"


def pieces(line: Iterable[tuple[str, bool]]) -> Content:
    """A line with what was found in it marked."""
    return Content.assemble(*((text, FOUND if is_found else "") for text, is_found in line))


def page(heading: Heading, messages: Sequence[Saved], hit: int, pattern: Pattern) -> Content:
    """The beginning of a conversation, or the part from the message that was found."""
    ids = [message.id for message in messages]
    first = ids.index(hit) if hit in ids else 0
    facts = [
        when(heading.updated_at),
        counted(heading.messages, "message"),
        one_line(heading.model, 60),
        one_line(heading.preset, 40),
    ]
    lines: list[Content | tuple[str, str]] = [
        (one_line(heading.title, 200), "bold"), ("\n" + " · ".join(filter(None, facts)), FAINT),
    ]  # fmt: skip
    if first:
        lines.append((f"\n\n… {first:,} earlier", FAINT))
    for message in messages[first : first + PAGE_MESSAGES]:
        color = "$accent" if message.role == "system" else "$primary" if message.role == "user" else "$secondary"
        lines += [(f"\n\n{one_line(speaker(message))}\n", f"bold {color}"), part(message.text, pattern)]
    if (left := len(messages) - first - PAGE_MESSAGES) > 0:
        lines.append((f"\n\n… {left:,} more", FAINT))
    return Content.assemble(*lines)


def part(text: str, pattern: Pattern) -> Content:
    """Some lines of a message, around what was found in it."""
    match = pattern.search(folded(text))
    start = match.start() - BEFORE_CHARACTERS if match and match.end() > PAGE_CHARACTERS else 0
    shown = clean(text[max(0, start) : max(0, start) + PAGE_CHARACTERS]).strip()
    is_cut = len(text) > max(0, start) + PAGE_CHARACTERS
    line = ("… " if start > 0 else "") + shown + (" …" if is_cut else "")
    content = Content(line)
    for found, _ in zip(pattern.finditer(folded(line)), range(MATCHES_LIMIT), strict=False):
        content = content.stylize(FOUND, found.start(), found.end())
    return content
