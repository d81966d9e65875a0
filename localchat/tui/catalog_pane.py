"""The catalog, as it looks from this machine: what fits and how, what it takes, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.widgets.option_list import Option

from localchat.catalog import Entry
from localchat.errors import LocalchatError
from localchat.plan.places import place
from localchat.plan.plan import Plan
from localchat.pull.offers import Offer
from localchat.text import one_line, size
from localchat.tui.card import card, facts, plain, said
from localchat.tui.pane import Pane
from localchat.tui.rows import Rows, row, section
from localchat.tui.services import Services

UNCENSORED = "Uncensored: it was tuned to answer without refusals."
GATED = "Gated: its authors want you to accept their terms on the Hub first, and to set HF_TOKEN."


class CatalogRows(Rows):
    """The list, in which Enter pulls a model, or uses the one that is installed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Pull")]


class CatalogPane(Pane):
    """The published models that are known."""

    @dataclass
    class Looked(Message):
        """The offers, or why there are none."""

        offers: list[Offer]
        error: LocalchatError | None = None

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._offers: dict[str, Offer] = {}

    def compose(self) -> ComposeResult:
        yield CatalogRows()
        yield Static(Content("Looking at what this machine can run …"), classes="empty")

    def on_mount(self) -> None:
        self.rows.display = False
        self.look()

    @property
    def marked(self) -> Offer | None:
        """The marked offer."""
        return self._offers.get(self.rows.marked)

    def details(self) -> Content:
        """What is known of the marked model."""
        return offer_card(self.marked) if self.marked is not None else Content("")

    @work(thread=True, exclusive=True, group="look", exit_on_error=False)
    def look(self) -> None:
        """Plan the catalog anew, which takes seconds."""
        try:
            self.post_message(self.Looked(self._services.offers()))
        except LocalchatError as error:
            self.post_message(self.Looked([], error))

    @on(Looked)
    def _show(self, message: Looked) -> None:
        self._offers = {offer.entry.name: offer for offer in message.offers}
        self.rows.show(offer_rows(message.offers))
        empty = self.query_one(".empty", Static)
        if message.error is not None:
            empty.update(Content(one_line(message.error.sentences, 500)))
        empty.display = not message.offers
        self.rows.display = bool(message.offers)
        self.post_message(self.Fresh())


def offer_rows(offers: Sequence[Offer]) -> Iterator[Option]:
    """The list: what needs no download first, what does not fit last."""
    groups = {
        "Ready at once, without a download": [one for one in offers if one.plan and one.is_local],
        "To download": [one for one in offers if one.plan and not one.is_local],
        "Does not fit this machine": [one for one in offers if not one.plan],
    }
    for title, group in groups.items():
        if group:
            yield section(title)
            yield from map(offer_row, group)


def offer_row(offer: Offer) -> Option:
    """An offer on two lines."""
    entry, plan = offer.entry, offer.plan
    if plan is None:
        return row(entry.name, one_line(entry.name, 60), offer.marks, [one_line(offer.problem, 300)])
    download = "" if offer.is_local else f"{size(entry.download_bytes)} to get"
    about = (plan.quant, speed(plan), f"{size(plan.total_bytes)} memory", download, f"{plan.context:,} tokens")
    return row(entry.name, one_line(entry.name, 60), offer.marks, about)


def offer_card(offer: Offer) -> Content:
    """An offer on a page."""
    entry, plan = offer.entry, offer.plan
    warnings = [text for text, holds in ((UNCENSORED, entry.uncensored), (GATED, entry.gated)) if holds]
    scores = [f"{score.get('task')}: {score.get('value')}, says {score.get('source')}" for score in entry.scores]
    return card(
        entry.name,
        plain(entry.title),
        Content("\n").join(plain(text, "$warning") for text in warnings) if warnings else Content(""),
        _here(offer, plan) if plan else Content.styled(one_line(f"Does not fit: {offer.problem}.", 500), "$text-error"),
        _about(entry),
        said("Published scores", scores),
        said("Why this type", plan.reasons if plan else ()),
        said("Not seen in the model's own files", entry.unsure),
    )


def _here(offer: Offer, plan: Plan) -> Content:
    return facts(
        ("Type here", f"{plan.quant}, {plan.bits_per_weight:.1f} bits a weight"),
        ("Runs on", place(plan)),
        ("Context", f"{plan.context:,} tokens of the {offer.entry.context:,} it was made for"),
        ("Speed", f"{speed(plan)} are predicted" if speed(plan) else "not predicted: the memory is not measured yet"),
        ("Memory", size(plan.total_bytes)),
        ("Download", "none" if offer.is_local else size(offer.entry.download_bytes)),
        ("Disk", "linked, not copied" if offer.is_local else size(plan.weights_bytes)),
    )


def _about(entry: Entry) -> Content:
    chosen = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in entry.sampling.items())
    return facts(
        ("Format", entry.format),
        ("Licence", entry.licence),
        ("Sampling", chosen),
        ("Source", entry.repo or f"the Python package {entry.package}"),
    )


def speed(plan: Plan) -> str:
    """The predicted rate in words; empty where it is not known."""
    rate = plan.tokens_per_second
    if not rate:
        return ""
    return f"about {rate:.0f} tokens/s" if rate >= 1 else f"about {rate:.1f} tokens/s"
