"""The words of the status line: as many as there is room for, the state always. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from textual.content import Content

from localchat.text import one_line
from localchat.tui.meter import Kind, Part, meter
from localchat.tui.situation import Mood, Situation

SEPARATOR, TIGHT = "  ·  ", " · "
LONG_BAR, SHORT_BAR = 20, 8  # cells
STATE_RANK = 9  # above all others

SIGNS: dict[Mood, tuple[str, str]] = {
    "idle": ("○", "$foreground-muted"),
    "ready": ("●", "$success"),
    "busy": ("◐", "$warning"),
    "broken": ("✖", "$error"),
}
PROMPT, REPLY, FREE = (
    Kind("prompt", "━", "$primary"),
    Kind("reply", "╍", "$secondary"),
    Kind("free", "─", "$foreground 25%"),
)


@dataclass(frozen=True, slots=True)
class Words:
    """A part of the line in its forms, the longest first; it is left out where none has room."""

    forms: tuple[Content, ...]
    rank: int
    """What has the lowest is shortened, and left out, first."""


def lines(now: Situation, slow: str, width: int) -> list[Content]:
    """One line, or two where the reason for being slow needs its own. Neither is wider than `width` cells."""
    line = fitting(list(_parts(now)), width)
    if not slow:
        return [line]
    reason = Content.styled(f"slow: {one_line(slow)}", "$text-warning")
    both = Content(SEPARATOR).join((line, reason))
    return [both] if both.cell_length <= width else [line, reason.truncate(width, ellipsis=True)]


def fitting(parts: Sequence[Words], width: int) -> Content:
    """The longest way to say the parts that has room; where none has, what ranks highest is cut, never lost."""
    line = Content("")
    for texts, separator in _ways(parts):
        line = Content.styled(separator, "$foreground 40%").join(texts)
        if line.cell_length <= width:
            break
    return line.truncate(width, ellipsis=True)


def _ways(parts: Sequence[Words]) -> Iterator[tuple[list[Content], str]]:
    """All forms at their longest; then each shorter by its rank, as far as it can be; then one after the other gone."""
    form = dict.fromkeys(range(len(parts)), 0)
    by_rank = sorted(form, key=lambda index: parts[index].rank)

    def chosen() -> list[Content]:
        return [parts[index].forms[number] for index, number in sorted(form.items())]

    yield chosen(), SEPARATOR
    yield chosen(), TIGHT
    for number in range(1, max((len(part.forms) for part in parts), default=0)):
        for index in by_rank:
            if number < len(parts[index].forms):
                form[index] = number
                yield chosen(), TIGHT
    for index in by_rank[:-1]:
        del form[index]
        yield chosen(), TIGHT


def _parts(now: Situation) -> Iterator[Words]:
    yield Words((Content.assemble(SIGNS[now.mood], " ", (one_line(now.state), "bold")),), STATE_RANK)
    if now.window_tokens:
        yield Words(tuple(_window(now)), 8)
    if now.dropped_turns:
        yield _words(6, *_dropped(now.dropped_turns), style="$text-warning")
    if now.pinned:
        yield _words(1, f"{now.pinned} pinned")
    if now.tokens_per_second:
        yield _words(7, f"{now.tokens_per_second:.1f} tokens/s")
    if now.first_token_seconds:
        yield _words(5, f"first after {now.first_token_seconds:.1f} s", f"first {now.first_token_seconds:.1f} s")
    if now.guard:
        yield _words(2, f"guard {one_line(now.guard, 20)}")


def _words(rank: int, *forms: str, style: str = "") -> Words:
    return Words(tuple(Content.styled(form, style) for form in forms), rank)


def _dropped(turns: int) -> tuple[str, str]:
    word = "turn" if turns == 1 else "turns"
    return f"{turns} oldest {word} left out", f"{turns} left out"


def _window(now: Situation) -> Iterator[Content]:
    """The bar of the context, with what is in it in numbers."""
    used, window = now.used_tokens + now.reply_tokens, now.window_tokens
    reply = f" + {now.reply_tokens:,}" if now.reply_tokens else ""
    yield Content.assemble(_bar(now, LONG_BAR), f" {now.used_tokens:,}{reply} of {window:,} tokens")
    yield Content.assemble(_bar(now, SHORT_BAR), f" {used:,}/{window:,}")


def _bar(now: Situation, cells: int) -> Content:
    free = max(0, now.window_tokens - now.used_tokens - now.reply_tokens)
    return meter([Part(PROMPT, now.used_tokens), Part(REPLY, now.reply_tokens), Part(FREE, free)], cells)
