"""The installed models: what they are, how fast they were here, when they were used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.widgets.option_list import Option

from localchat.catalog import Entry, lookup
from localchat.library import Installed, installed
from localchat.text import one_line, size
from localchat.tui.card import card, facts, moment, plain, said
from localchat.tui.pane import Pane
from localchat.tui.rows import Rows, row


class InstalledRows(Rows):
    """The list, in which Enter uses a model."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Use")]


class InstalledPane(Pane):
    """All models of the library."""

    @dataclass
    class Looked(Message):
        """What is installed."""

        models: list[Installed]

    def __init__(self, current: Installed | None) -> None:
        super().__init__()
        self._current = current.name if current is not None else ""
        self._models: dict[str, Installed] = {}

    def compose(self) -> ComposeResult:
        yield InstalledRows()
        yield Static(Content("No model is installed yet. The tab Catalog has some."), classes="empty")

    def on_mount(self) -> None:
        self.query_one(".empty").display = False
        self.look()

    @property
    def marked(self) -> Installed | None:
        """The marked model."""
        return self._models.get(self.rows.marked)

    def named(self, name: str) -> Installed | None:
        """The model of this name, if it is installed."""
        return self._models.get(name)

    def is_loaded(self, model: Installed) -> bool:
        """Is it the one that is loaded now?"""
        return model.name == self._current

    def details(self) -> Content:
        """What the receipt says in short."""
        model = self.marked
        return installed_card(model, lookup(model.receipt.source)) if model is not None else Content("")

    @work(thread=True, group="look", exit_on_error=False)
    def look(self) -> None:
        """Read the library again."""
        self.post_message(self.Looked(installed()))

    @on(Looked)
    def _show(self, message: Looked) -> None:
        self._models = {model.name: model for model in message.models}
        self.rows.show(installed_row(model, is_loaded=self.is_loaded(model)) for model in message.models)
        self.rows.display = bool(message.models)
        self.query_one(".empty").display = not message.models
        self.post_message(self.Fresh())


def installed_row(model: Installed, *, is_loaded: bool) -> Option:
    """A model on two lines."""
    receipt = model.receipt
    speed = f"{model.tokens_per_second:.1f} tokens/s here" if model.tokens_per_second else ""
    used = f"used {moment(model.last_used_at)}" if model.last_used_at else "not used yet"
    about = (f"{receipt.quant}, {size(receipt.file_bytes)}", speed, used)
    return row(
        model.name, one_line(model.name, 60), ["loaded"] if is_loaded else [], [one_line(text) for text in about],
        is_current=is_loaded,
    )  # fmt: skip


def installed_card(model: Installed, entry: Entry | None) -> Content:
    """A model on a page, with what the catalog says of its source."""
    receipt = model.receipt
    verdicts = [check.verdict for check in receipt.checks]
    checks = f"{verdicts.count('passed')} of {len(verdicts)} passed" if verdicts else ""
    return card(
        model.name,
        plain(entry.title) if entry else Content(""),
        facts(
            ("Type", receipt.quant),
            ("Size", size(receipt.file_bytes)),
            (
                "Speed here",
                f"{model.tokens_per_second:.1f} tokens/s" if model.tokens_per_second else "not measured yet",
            ),
            ("Last used", moment(model.last_used_at) if model.last_used_at else "never"),
            ("Installed", moment(receipt.installed_at)),
            ("Made from", receipt.source),
            ("Commit", receipt.commit or ""),
            ("Format", entry.format if entry else ""),
            ("Licence", entry.licence if entry else ""),
            ("Checks", checks),
            ("File", str(model.path)),
        ),
        said("Notes", receipt.notes),
    )
