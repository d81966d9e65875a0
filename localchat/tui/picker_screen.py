"""The first run: three models that fit this machine, one key to begin, and a field to name any other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localchat.errors import LocalchatError
from localchat.library import Installed
from localchat.pull.offers import Offer
from localchat.text import one_line, size
from localchat.tui.catalog_pane import speed
from localchat.tui.download import Download
from localchat.tui.downloads import Downloads
from localchat.tui.key_line import KeyLine
from localchat.tui.library_screen import LibraryScreen
from localchat.tui.pull_panel import PullPanel
from localchat.tui.rows import Rows
from localchat.tui.services import Services
from localchat.tui.suggestions import Suggestion, three

MORE = "more"
AIRY_ROWS = 30  # a terminal of so many has room for empty lines
LOOKING = "Looking at what this machine can run …"
INVITATION = "or name one: owner/repo, a page of the Hub, a checkpoint folder, a .gguf file"
WELCOME = "Choose a model to begin with. It runs on this machine, and what you write stays here."


class Choices(Rows):
    """The list, in which Enter begins."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Begin")]


class PickerScreen(ModalScreen[Installed | None]):
    """Returns the model that was chosen, once it is installed; None where it is not waited for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close"),
        Binding("1", "start(1)", show=False, tooltip="Begin with the first"),
        Binding("2", "start(2)", show=False, tooltip="Begin with the second"),
        Binding("3", "start(3)", show=False, tooltip="Begin with the third"),
        Binding("m", "more", "More", tooltip="The whole library"),
        Binding("s", "stop", "Stop", tooltip="Stop the download; what arrived is kept"),
    ]

    @dataclass
    class Looked(Message):
        """The catalog as it looks from this machine, or why it cannot be had."""

        offers: list[Offer]
        error: LocalchatError | None = None

    def __init__(self, services: Services, current: Installed | None, downloads: Downloads) -> None:
        super().__init__()
        self._services, self._current, self._downloads = services, current, downloads
        self._suggestions: tuple[Suggestion, ...] = ()
        self._is_left = False
        self._shown: list[str] = []
        self._state = ""
        self._awaited = 0
        """Number of the download that ends this screen."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("Welcome to localchat"), classes="heading")
            yield Static(Content(WELCOME), classes="welcome")
            yield Choices(Option(Content.styled(LOOKING, "$foreground-muted"), "looking", disabled=True), more())
            yield PullPanel()
            yield Input(placeholder=INVITATION, compact=True)
            yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(PullPanel).display = False
        self.query_one(Choices).focus()
        self._downloads.changed.subscribe(self, self._follow)
        self._look()

    def on_screen_resume(self) -> None:
        """What was waited for may have come while another screen was open."""
        self._follow(self._downloads)

    @property
    def _download(self) -> Download | None:
        return self._downloads.find(self._awaited)

    @property
    def _meanwhile(self) -> Suggestion | None:
        """What could be talked with until the download is there."""
        download = self._download
        is_slow = download is not None and not download.is_over and not download.is_quick
        return next((one for one in self._suggestions if one.offer.is_local), None) if is_slow else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Digits are for the choices that there are; a download is stopped while there is one."""
        if action == "start":
            return bool(parameters) and isinstance(number := parameters[0], int) and number <= len(self._choices())
        if action == "stop":
            return self._download is not None and self._download.can_be_stopped
        return True

    def action_close(self) -> None:
        """Leave without a model; a download goes on, and is used when it is there."""
        self.dismiss(None)

    def action_more(self) -> None:
        """The whole library."""
        self.app.push_screen(LibraryScreen(self._services, self._downloads, self._current, "catalog"), self._take)

    def action_start(self, number: int) -> None:
        """Begin with one of the three."""
        self._begin(self._choices()[number - 1].offer)

    def action_stop(self) -> None:
        """Stop the download; what arrived is kept."""
        self._downloads.stop(self._awaited)

    def _take(self, model: Installed | None) -> None:
        if model is not None:
            self.dismiss(model)

    @work(thread=True, group="look", exit_on_error=False)
    def _look(self) -> None:
        """Planning asks the devices, which takes a moment."""
        try:
            self.post_message(self.Looked(self._services.offers()))
        except LocalchatError as error:
            self.post_message(self.Looked([], error))

    @on(Looked)
    def _show(self, message: Looked) -> None:
        self._suggestions = three(message.offers)
        if message.error is not None:
            words = message.error.sentences
        else:
            words = WELCOME if self._suggestions else "No model of the catalog fits this machine; the library says why."
        self.query_one(".welcome", Static).update(Content(one_line(words, 500)))
        self._show_choices()

    def _choices(self) -> tuple[Suggestion, ...]:
        """What can be begun now."""
        return (self._meanwhile,) if self._meanwhile is not None else self._suggestions

    def _show_choices(self) -> None:
        choices, is_meanwhile = self._choices(), self._meanwhile is not None
        shown = [str(is_meanwhile), *(one.offer.entry.name for one in choices)]
        if shown != self._shown:
            is_airy = self.app.size.height >= AIRY_ROWS
            options = (choice(number, one, is_meanwhile, is_airy) for number, one in enumerate(choices, start=1))
            self.query_one(Choices).show([*options, more()])
            self.query_one(Choices).highlighted = 0
            self._shown = shown
            self.refresh_bindings()

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        names = {one.offer.entry.name: one.offer for one in self._suggestions}
        if event.option_id == MORE:
            self.action_more()
        elif event.option_id in names:
            self._begin(names[event.option_id])

    @on(Input.Submitted)
    def _take_name(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._await(self._downloads.begin(event.value.strip()))
            self.query_one(Choices).focus()

    def _begin(self, offer: Offer) -> None:
        self._await(self._downloads.begin(offer.entry.name, is_quick=offer.is_local))

    def _await(self, number: int) -> None:
        self._awaited = number
        self._follow(self._downloads)

    def _follow(self, downloads: Downloads) -> None:
        """Show how far the download is; the model that was waited for is the result."""
        download = self._download
        if download is None:
            return
        panel = self.query_one(PullPanel)
        panel.display = True
        panel.show(download)
        if download.model is not None:
            if self.app.screen is self and not self._is_left:
                self._is_left = True
                self.dismiss(download.model)
            return
        if download.state != self._state:
            self._state = download.state
            self._show_choices()
            self.refresh_bindings()


def choice(number: int, suggestion: Suggestion, is_meanwhile: bool, is_airy: bool) -> Option:
    """One of the three: its name and why, what it is, and what it takes."""
    offer, entry = suggestion.offer, suggestion.offer.entry
    why = "Chat with it while the other one is downloaded." if is_meanwhile else suggestion.why
    text = Content.assemble(
        (f" {number}  ", "bold $primary"), (one_line(entry.name, 40), "bold"), (f"\n    {why}", "$text-success"),
        f"\n    {one_line(entry.title, 100)}", (f"\n    {' · '.join(_facts(offer))}", "$foreground-muted"),
        "\n" if is_airy else "",
    )  # fmt: skip
    return Option(text, entry.name)


def more() -> Option:
    """The way to everything else."""
    return Option(
        Content.assemble((" m  ", "bold $primary"), "more … (the library: the whole catalog, and the Hub)"), MORE
    )


def _facts(offer: Offer) -> Iterator[str]:
    plan, entry = offer.plan, offer.entry
    if plan is None:
        return
    yield "no download" if offer.is_local else f"{size(entry.download_bytes)} to download"
    yield f"{plan.quant}, {size(plan.weights_bytes)}"
    if speed(plan):
        yield speed(plan)
    if entry.uncensored:
        yield "uncensored"
