"""The downloads of this run of the app: what is running, what waits, what has ended and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.reactive import reactive
from textual.widgets import Static
from textual.widgets.option_list import Option

from localchat.text import size
from localchat.tui.card import card, facts, said
from localchat.tui.download import Download
from localchat.tui.downloads import Downloads
from localchat.tui.pane import Pane
from localchat.tui.pull_panel import panel
from localchat.tui.rows import Rows

NOTHING = "Nothing was pulled since localchat was opened."
EDGE_CELLS = 4  # padding and scrollbar of the list


class DownloadRows(Rows):
    """The list, in which Enter uses a model that is ready."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Use")]
    can_use: reactive[bool] = reactive(False, bindings=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is not installed yet cannot be used."""
        return self.can_use if action == "select" else True


class DownloadsPane(Pane):
    """A live panel for each download."""

    def __init__(self, downloads: Downloads) -> None:
        super().__init__()
        self._downloads = downloads

    def compose(self) -> ComposeResult:
        yield DownloadRows()
        yield Static(Content(NOTHING), classes="empty")

    def on_mount(self) -> None:
        self._downloads.changed.subscribe(self, self.show)
        self.show(self._downloads)

    @property
    def marked(self) -> Download | None:
        """The marked download."""
        number = self.rows.marked
        return self._downloads.find(int(number)) if number else None

    def details(self) -> Content:
        """What was decided, and how it ended."""
        return download_card(self.marked) if self.marked is not None else Content("")

    def show(self, downloads: Downloads) -> None:
        """Show how far they are."""
        found: Sequence[Download] = downloads.all[::-1]
        width = self.rows.size.width - EDGE_CELLS
        self.rows.show(Option(panel(one, width), str(one.number)) for one in found)
        self.rows.display, self.query_one(".empty").display = bool(found), not found
        self.on_option_list_option_highlighted()

    def mark(self, number: int) -> None:
        """Mark a download."""
        ids = [row.id for row in self.rows.options]
        if str(number) in ids:
            self.rows.highlighted = ids.index(str(number))

    def on_option_list_option_highlighted(self) -> None:
        """Tell the screen."""
        marked = self.marked
        self.query_one(DownloadRows).can_use = marked is not None and marked.state == "done"
        super().on_option_list_option_highlighted()

    def on_resize(self, event: Resize) -> None:
        """The bars are as wide as there is room."""
        self.call_after_refresh(self.show, self._downloads)


def download_card(download: Download) -> Content:
    """A download on a page."""
    chosen = download.chosen
    if chosen is None:
        return card(download.name, facts(("Source", download.source)), _why(download))
    return card(
        download.name,
        facts(
            ("Source", chosen.source),
            ("Type", f"{chosen.plan.quant}, {chosen.plan.bits_per_weight:.1f} bits a weight"),
            ("Context", f"{chosen.plan.context:,} tokens"),
            ("Memory", size(chosen.plan.total_bytes)),
            ("Download", size(chosen.download_bytes) if chosen.download_bytes else "none"),
            ("Disk", size(chosen.disk_bytes) if chosen.disk_bytes else "linked, not copied"),
        ),
        _why(download),
        said("Why this type", chosen.plan.reasons),
    )


def _why(download: Download) -> Content:
    error = download.error
    return said("Why it failed", [str(error), error.hint]) if error is not None else Content("")
