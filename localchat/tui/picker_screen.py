"""Choose a model: one that is installed, one of the catalog, or whatever the user names; what is missing is pulled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from localchat.errors import LocalchatError
from localchat.library import Installed, installed
from localchat.pull.events import PullEvent, Ready
from localchat.pull.offers import Offer
from localchat.text import one_line, size
from localchat.tui.pace import seldom
from localchat.tui.pull_panel import PullPanel
from localchat.tui.services import Services

INSTALLED, OFFERED = "installed:", "offered:"


class PickerScreen(ModalScreen[Installed | None]):
    """Returns the chosen model, installed; None if none was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
        Binding("escape", "close", "Close"),
    ]
    is_pulling: reactive[bool] = reactive(False, bindings=True)

    @dataclass
    class Offered(Message):
        """The catalog, as it looks from this machine."""

        offers: list[Offer]

    @dataclass
    class Pulled(Message):
        """An event of the pull."""

        event: PullEvent

    @dataclass
    class PullEnded(Message):
        """The pull is over; without an error it was cancelled."""

        error: LocalchatError | None

    def __init__(self, services: Services, current: Installed | None) -> None:
        super().__init__()
        self._services, self._current = services, current
        self._installed = {model.name: model for model in installed()}

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Static(Content("Choose a model"), classes="heading")
            yield OptionList(*self._options(None))
            yield PullPanel()
            yield Input(placeholder="or name one: owner/repo, a page of the Hub, a checkpoint folder, a .gguf file")
            yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        self._look()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape cancels a pull, and closes the screen when there is none."""
        return {"cancel": self.is_pulling, "close": not self.is_pulling}.get(action, True)

    def action_close(self) -> None:
        """Leave without a choice."""
        self.dismiss(None)

    def action_cancel(self) -> None:
        """Stop the pull; what was downloaded stays for the next time."""
        self.query_one(PullPanel).say("Stopping …")
        self.workers.cancel_group(self, "pull")

    @work(thread=True, group="look", exit_on_error=False)
    def _look(self) -> None:
        """Planning asks the devices, which may take a moment."""
        self.post_message(self.Offered(self._services.offers()))

    @on(Offered)
    def _show_offers(self, message: Offered) -> None:
        choices = self.query_one(OptionList)
        highlighted = choices.highlighted
        choices.set_options(self._options(message.offers))
        choices.highlighted = highlighted if highlighted is not None else _first_enabled(choices)

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option_id or ""
        if chosen.startswith(INSTALLED):
            self.dismiss(self._installed[chosen.removeprefix(INSTALLED)])
        else:
            self._begin_pull(chosen.removeprefix(OFFERED))

    @on(Input.Submitted)
    def _take_name(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._begin_pull(event.value.strip())

    def _begin_pull(self, source: str) -> None:
        if not self.is_pulling:
            self.is_pulling = True
            self.query_one(PullPanel).begin(source)
            self._pull(source)

    @work(thread=True, exclusive=True, group="pull", exit_on_error=False)
    def _pull(self, source: str) -> None:
        worker, failure = get_current_worker(), None
        try:
            with closing(self._services.pull(source)) as events:
                for event in seldom(events):
                    self.post_message(self.Pulled(event))
                    if worker.is_cancelled:
                        break
        except LocalchatError as error:
            failure = error
        self.post_message(self.PullEnded(failure))

    @on(Pulled)
    def _show_event(self, message: Pulled) -> None:
        if isinstance(message.event, Ready):
            self.dismiss(message.event.model)
        else:
            self.query_one(PullPanel).show(message.event)

    @on(PullEnded)
    def _end_pull(self, message: PullEnded) -> None:
        self.is_pulling = False
        panel = self.query_one(PullPanel)
        if message.error is not None:
            panel.fail(message.error)
        else:
            panel.say("Stopped. What was downloaded is kept for the next time.")

    def _options(self, offers: list[Offer] | None) -> Iterator[Option]:
        """The list: what is installed, what is there without a download, and the rest of the catalog."""
        if self._installed:
            yield _section("Installed")
            yield from (
                Option(self._installed_line(model), INSTALLED + name) for name, model in self._installed.items()
            )
        if offers is None:
            yield _section("Looking at what this machine can run …")
            return
        new = [offer for offer in offers if not offer.is_installed]
        for title, is_local in (("Ready at once, without a download", True), ("To download", False)):
            group = [offer for offer in new if offer.is_local == is_local]
            if group:
                yield _section(title)
                yield from (Option(_offer_line(offer), OFFERED + offer.entry.name) for offer in group)

    def _installed_line(self, model: Installed) -> Content:
        sign = "▸ " if self._current is not None and model.name == self._current.name else "  "
        speed = f" · {model.tokens_per_second:.1f} tokens/s here" if model.tokens_per_second else ""
        facts = f"\n  {model.receipt.quant}, {size(model.receipt.file_bytes)}{speed}"
        return Content.assemble((sign, "bold $primary"), (one_line(model.name, 80), "bold"), (facts, "$foreground 55%"))


def _section(title: str) -> Option:
    return Option(Content.assemble((f"\n{title}", "$accent")), disabled=True)


def _offer_line(offer: Offer) -> Content:
    entry = offer.entry
    here = f"{offer.plan.quant} here, {size(offer.plan.weights_bytes)}" if offer.plan else "does not fit into memory"
    marks = [mark for mark, holds in (("gated", entry.gated), ("uncensored", entry.uncensored)) if holds]
    download = [] if offer.is_local else [here, f"{size(entry.download_bytes)} to download"]
    facts = " · ".join([*download, entry.format, entry.licence, *marks])
    return Content.assemble(
        (f"  {one_line(entry.name, 80)}", "bold"),
        (f"\n  {one_line(entry.title, 120)}", "$foreground 85%"),
        (f"\n  {facts}", "$foreground 55%"),
    )


def _first_enabled(choices: OptionList) -> int | None:
    return next((index for index, option in enumerate(choices.options) if not option.disabled), None)
