"""The top line: what the conversation is about; the model, where it runs, and what is being downloaded."""

from __future__ import annotations

from collections.abc import Iterator

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from localchat.text import one_line

NAME = "localchat"
LEFT_CELLS = 24  # that the name and the conversation's title have, before the right side gives way
GAP = 2


class Title(Widget):
    """The title of the open conversation on the left, the model and a download on the right."""

    text = reactive("")
    model = reactive("")
    """Its name, its type and where it runs."""
    detail = reactive("")
    """What is said of the place where there is room, such as `8 threads`."""
    download = reactive("")
    """What is being pulled; what follows a comma is left out first: `↓ zephyr-7b-beta 34 %, 12 min left`."""

    def render(self) -> Content:
        return title_line(self.text, self.model, self.detail, self.download, self.content_size.width)


def title_line(text: str, model: str, detail: str, download: str, width: int) -> Content:
    """The whole line, `width` cells wide at most; the program's name is there where nothing needs its place."""
    right = Content("")
    for right in _rights(model, detail, download):
        if right.cell_length <= max(width - LEFT_CELLS - GAP, width // 2):
            break
    right = right.truncate(max(0, width - GAP), ellipsis=True)
    room = max(0, width - right.cell_length - GAP)
    title = Content(one_line(text, 200))
    named = Content.assemble((NAME, "bold $primary"), ("  ·  ", "$foreground 40%"), title)
    left = named if named.cell_length <= room else title
    return Content.assemble(left.truncate(room, ellipsis=True, pad=True), " " * GAP, right)


def _rights(model: str, detail: str, download: str) -> Iterator[Content]:
    """The right side, the longest form first. A download is never left out, nor are the type and the place."""
    name, pulled = one_line(model, 80), one_line(download, 80)
    wide = f"{name}, {one_line(detail, 40)}" if detail else name
    brief = pulled.partition(",")[0]
    for first, second in (
        (wide, pulled), (name, pulled), (name, brief), (_cut(name, 40), brief), (_cut(name, 30), brief),
        (_cut(name.partition(",")[0], 30), _inner_cut(brief, 14)),
    ):  # fmt: skip
        yield Content("   ").join(
            [Content.styled(part, style) for part, style in ((first, "$secondary"), (second, "$accent")) if part]
        )


def _cut(name: str, cells: int) -> str:
    """The model's name gives way, the type and the place stay."""
    first, mark, rest = name.partition(" · ")
    return f"{one_line(first, max(8, cells - len(rest) - len(mark)))}{mark}{rest}"


def _inner_cut(text: str, cells: int) -> str:
    """Without its middle: the sign and the percentage at the end stay."""
    end = " ".join(text.split()[-2:])
    return text if len(text) <= cells else f"{text[: max(1, cells - len(end) - 2)]}… {end}"
