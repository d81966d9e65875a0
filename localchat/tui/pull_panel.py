"""How a pull goes: its name and state, a bar for each step, and in words how much, how fast and how long still."""

from __future__ import annotations

from textwrap import wrap

from textual.content import Content
from textual.widgets import Static

from localchat.text import capitalized, one_line
from localchat.tui.download import Bar, Download, bars, facts

LABEL_CELLS, PERCENT_CELLS, WIDEST_BAR = 10, 7, 60
STATE_STYLES = {"done": "$text-success", "failed": "$text-error", "stopped": "$text-warning"}


class PullPanel(Static):
    """One download; empty until there is one."""

    def __init__(self) -> None:
        super().__init__()
        self._download: Download | None = None

    def show(self, download: Download) -> None:
        """Show how far it is."""
        self._download = download
        self.update(panel(download, self.content_size.width))

    def on_resize(self) -> None:
        """The bars are as wide as there is room."""
        if self._download is not None:
            self.update(panel(self._download, self.content_size.width))


def panel(download: Download, width: int) -> Content:
    """A download on some lines of at most `width` cells."""
    quant = f" · {download.chosen.plan.quant}" if download.chosen else ""
    head = Content.assemble(
        (one_line(download.name, 50), "bold"), (quant, "$foreground-muted"),
        "  ", (download.state, STATE_STYLES.get(download.state, "$accent")),
    )  # fmt: skip
    if download.error is not None and download.state == "failed":
        what = [Content(line) for line in _wrapped(str(download.error), width)]
        hint = [Content.styled(line, "$foreground 70%") for line in _wrapped(download.error.hint, width)]
        return Content("\n").join([head, *what, *hint])
    lines = [_bar(bar, width) for bar in bars(download)] if download.state != "done" else []
    about = Content.styled(f"  {facts(download, width - 2)}", "$foreground-muted")
    return Content("\n").join([head, *lines, about])


def _bar(bar: Bar, width: int) -> Content:
    cells = max(4, min(WIDEST_BAR, width - LABEL_CELLS - PERCENT_CELLS - 2))
    filled = round(cells * bar.fraction)
    return Content.assemble(
        (f"  {bar.label:{LABEL_CELLS - 2}}  ", "$foreground 70%"),
        ("━" * filled, "$primary"),
        ("─" * (cells - filled), "$foreground 30%"),
        f"{100 * bar.fraction:5.0f} %",
    )


def _wrapped(text: str, width: int) -> list[str]:
    """A sentence on lines that fit below the name."""
    line = f"{capitalized(one_line(text, 500))}."
    return wrap(line, max(20, width), initial_indent="  ", subsequent_indent="  ")
