"""The library: installed models, the catalog, the Hub and the downloads, a tab each, with a page on the marked row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static, TabbedContent, TabPane, Tabs

from localchat.errors import LocalchatError
from localchat.library import Installed
from localchat.pull.offers import Offer
from localchat.text import one_line, size
from localchat.tui.ask_screen import AskScreen
from localchat.tui.catalog_pane import CatalogPane
from localchat.tui.download import Download
from localchat.tui.downloads import Downloads
from localchat.tui.downloads_pane import DownloadsPane
from localchat.tui.hub_pane import HubPane
from localchat.tui.installed_pane import InstalledPane
from localchat.tui.key_line import KeyLine
from localchat.tui.page_screen import PageScreen
from localchat.tui.pane import Pane
from localchat.tui.receipt_page import receipt_page
from localchat.tui.services import Services
from localchat.tui.verify_screen import VerifyScreen

TABS = ("installed", "catalog", "hub", "downloads")
WIDE_CELLS = 110
OF_INSTALLED = ("remove", "verify", "receipt")


class LibraryScreen(Screen[Installed | None]):
    """Returns the model that is to be used, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close"),
        Binding("s", "stop", "Stop", id="library.stop", tooltip="Stop the download; what arrived is kept"),
        Binding("r", "again", "Go on", id="library.again", tooltip="Go on with the download where it stopped"),
        Binding("space", "details", "Details"),
        Binding("left", "tab(-1)", "Tabs", key_display="←→", tooltip="The tab before this one"),
        Binding("right", "tab(1)", show=False, tooltip="The tab after this one"),
        Binding("slash", "search", "Search", key_display="/", id="library.search", tooltip="Search the Hub"),
        Binding("i", "receipt", "Receipt", id="library.receipt", tooltip="Where the model comes from"),
        Binding("v", "verify", "Verify", id="library.verify", tooltip="Check the model file once more"),
        Binding("d", "remove", "Remove", id="library.remove", tooltip="Delete the model, after a question"),
        *(Binding(str(number), f"show('{tab}')", show=False) for number, tab in enumerate(TABS, start=1)),
    ]

    @dataclass
    class Removed(Message):
        """A model is gone, or why it is not."""

        name: str
        freed_bytes: int
        error: LocalchatError | None = None

    def __init__(
        self, services: Services, downloads: Downloads, current: Installed | None, tab: str = "installed"
    ) -> None:
        super().__init__()
        self._services, self._downloads, self._current = services, downloads, current
        self._first_tab = tab
        self._situation: object = None
        """What the keys depend on, as it was when they were shown."""

    def compose(self) -> ComposeResult:
        with Horizontal(classes="body"):
            with TabbedContent(initial=self._first_tab):
                with TabPane("1 Installed", id="installed"):
                    yield InstalledPane(self._current)
                with TabPane("2 Catalog", id="catalog"):
                    yield CatalogPane(self._services)
                with TabPane("3 Hub", id="hub"):
                    yield HubPane(self._services)
                with TabPane("4 Downloads", id="downloads"):
                    yield DownloadsPane(self._downloads)
            with VerticalScroll(classes="details", can_focus=False):
                yield Static(classes="card")
        yield KeyLine()

    def on_resize(self, event: Resize) -> None:
        """Where there is room, the page on the marked row is beside the list."""
        self.set_class(event.size.width >= WIDE_CELLS, "-wide")
        self.refresh_bindings()

    def on_mount(self) -> None:
        self.query_one(Tabs).can_focus = False  # arrows and digits do it from everywhere
        self._downloads.finished.subscribe(self, self._renew)
        self._downloads.changed.subscribe(self, self._count)
        self._count(self._downloads)

    @property
    def _tab(self) -> str:
        return self.query_one(TabbedContent).active

    @property
    def _pane(self) -> Pane:
        return self.query_one(f"#{self._tab or self._first_tab}").query_one(Pane)

    @property
    def _model(self) -> Installed | None:
        """The marked model of the installed ones."""
        return self.query_one(InstalledPane).marked if self._tab == "installed" else None

    @property
    def _download(self) -> Download | None:
        return self.query_one(DownloadsPane).marked if self._tab == "downloads" else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that make no sense for the marked row are not shown."""
        if action in OF_INSTALLED:
            return self.is_mounted and self._model is not None
        if action in ("stop", "again"):
            download = self._download if self.is_mounted else None
            return download is not None and (download.can_be_stopped if action == "stop" else download.can_go_on)
        if action == "details":
            return not self.has_class("-wide") and self.is_mounted and bool(self._pane.rows.marked)
        return True

    # What is shown

    @on(TabbedContent.TabActivated)
    def _enter(self) -> None:
        """The list of the tab is ready for keys."""
        self.set_focus(None)
        self._show_details()

    @on(Pane.Fresh)
    def _show_details(self) -> None:
        pane = self._pane
        if self.focused is None or not self.focused.display:  # a list is focused when there is something in it
            (pane.query_one(Input) if isinstance(pane, HubPane) and not pane.rows.display else pane.rows).focus()
        card, page = self.query_one(".card", Static), self._pane.details()
        if not (isinstance(card.content, Content) and card.content.is_same(page)):
            card.update(page)
        # A download tells many times a second how far it is; only its state makes a difference to the keys.
        download = self._download
        situation = (self._tab, self._pane.rows.marked, download.state if download else "")
        if situation != self._situation:
            self._situation = situation
            self.refresh_bindings()

    def _count(self, downloads: Downloads) -> None:
        running = sum(not one.is_over for one in downloads.all)
        tab, label = self.query_one(TabbedContent).get_tab("downloads"), f"4 Downloads ({running})"
        label = label if running else "4 Downloads"
        if str(tab.label) != label:
            tab.label = label

    def _renew(self, model: Installed) -> None:
        self.query_one(InstalledPane).look()
        self.query_one(CatalogPane).look()

    def action_close(self) -> None:
        """Back to the chat."""
        self.dismiss(None)

    def action_tab(self, step: int) -> None:
        """The tab beside this one."""
        self.action_show(TABS[(TABS.index(self._tab) + step) % len(TABS)])

    def action_show(self, tab: str) -> None:
        """Open a tab."""
        self.query_one(TabbedContent).active = tab

    def action_details(self) -> None:
        """The page on the marked row, where there is no room beside the list."""
        self.app.push_screen(PageScreen(self._pane.details()))

    def action_search(self) -> None:
        """Search the Hub."""
        self.action_show("hub")
        self.query_one(HubPane).query_one(Input).focus()

    # What is chosen

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        pane = self._pane
        if isinstance(pane, InstalledPane) and pane.marked is not None:
            self._use(pane.marked)
        elif isinstance(pane, CatalogPane) and pane.marked is not None:
            self._take(pane.marked)
        elif isinstance(pane, HubPane) and pane.marked is not None:
            self._begin(pane.marked.id)
        elif isinstance(pane, DownloadsPane) and pane.marked is not None and pane.marked.model is not None:
            self._use(pane.marked.model)

    def _use(self, model: Installed) -> None:
        """What is loaded already stays as it is."""
        is_loaded = self._current is not None and model.receipt == self._current.receipt
        self.dismiss(None if is_loaded else model)

    def _take(self, offer: Offer) -> None:
        model = self.query_one(InstalledPane).named(offer.entry.name)
        if model is not None:
            self._use(model)
        elif offer.plan is None:
            self.notify(one_line(f"It does not fit: {offer.problem}.", 300), severity="warning", markup=False)
        else:
            self._begin(offer.entry.name, is_quick=offer.is_local)

    def _begin(self, source: str, *, is_quick: bool = False) -> None:
        number = self._downloads.begin(source, is_quick=is_quick)
        self.action_show("downloads")
        self.call_after_refresh(self.query_one(DownloadsPane).mark, number)

    def action_stop(self) -> None:
        """Stop the marked download."""
        if self._download is not None:
            self._downloads.stop(self._download.number)

    def action_again(self) -> None:
        """Go on with the marked download."""
        if self._download is not None:
            self._downloads.again(self._download.number)

    # Installed models

    def action_receipt(self) -> None:
        """Where the model comes from and what was made of it."""
        if self._model is not None:
            self.app.push_screen(PageScreen(receipt_page(self._model)))

    def action_verify(self) -> None:
        """Check the model file once more."""
        if self._model is not None:
            self.app.push_screen(VerifyScreen(self._model, self._services.verify))

    def action_remove(self) -> None:
        """Delete the model, once that is confirmed."""
        model = self._model
        if model is not None:
            question = removal(model, is_loaded=self.query_one(InstalledPane).is_loaded(model))
            self.app.push_screen(AskScreen(question, "Remove it"), partial(self._answer, model.name))

    def _answer(self, name: str, is_yes: bool | None) -> None:
        if is_yes:
            self._remove(name)

    @work(thread=True, group="remove", exit_on_error=False)
    def _remove(self, name: str) -> None:
        try:
            self.post_message(self.Removed(name, self._services.remove(name)))
        except LocalchatError as error:
            self.post_message(self.Removed(name, 0, error))

    @on(Removed)
    def _show_removed(self, message: Removed) -> None:
        if message.error is not None:
            self.notify(one_line(message.error.sentences, 500), severity="error", markup=False)
        else:
            self.notify(one_line(f"{message.name} is removed."), markup=False)
        self.query_one(InstalledPane).look()
        self.query_one(CatalogPane).look()


def removal(model: Installed, *, is_loaded: bool) -> str:
    """The question before a model is deleted."""
    file = model.path
    is_linked = file.is_symlink() or (file.exists() and file.stat().st_nlink > 1)
    freed = "Its file is linked: it stays where it came from, and nothing comes free." if is_linked else (
        f"{size(model.receipt.file_bytes)} of disk come free."
    )  # fmt: skip
    loaded = " It is the model that is loaded now: it answers on until another one is chosen." if is_loaded else ""
    return f"Remove {one_line(model.name, 60)}? {freed}{loaded}"
