"""How the command line shows things: bars and tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from localchat.errors import LocalchatError
from localchat.gguf_file import ModelFile
from localchat.library import Installed
from localchat.plan.plan import Plan
from localchat.pull.events import Chosen, Progress, PullEvent, Ready
from localchat.pull.offers import Offer
from localchat.text import clean, duration, is_interactive, one_line, size

LINE_SECONDS = 5.0  # between lines of progress where nobody watches a bar
STAGES = {"download": "Downloading", "convert": "Converting", "check": "Checking"}


def say(text: str) -> None:
    """Words for a person, on standard error."""
    print(clean(text), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Facts for a program, on standard output."""
    print(json.dumps(value, indent=2))


def print_error(error: LocalchatError) -> None:
    """One sentence and the next step."""
    say(f"localchat: {one_line(str(error), 500)}\n  {one_line(error.hint, 500)}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A table on standard output; the columns in `right` are numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    Console(highlight=False).print(table)


class Meter:
    """Shows a stream of progress: a bar on a terminal, else a line now and then."""

    def __init__(self, started: float | None = None) -> None:
        self._stage, self._began, self._first, self._next_line = "", started or time.monotonic(), 0, 0.0

    def show(self, progress: Progress) -> None:
        """One more step."""
        now = time.monotonic()
        if progress.stage != self._stage:
            self._stage, self._began, self._first, self._next_line = progress.stage, now, progress.done_bytes, now
        if now >= self._next_line or progress.done_bytes == progress.total_bytes:
            self._next_line = now + LINE_SECONDS
            say(self._line(progress, now - self._began))

    def _line(self, progress: Progress, seconds: float) -> str:
        rate = (progress.done_bytes - self._first) / seconds if seconds > 0.5 else 0
        left = f", {duration((progress.total_bytes - progress.done_bytes) / rate)} left" if rate else ""
        pace = f", {size(rate)}/s{left}" if rate else ""
        return f"{STAGES[progress.stage]} {size(progress.done_bytes)} of {size(progress.total_bytes)}{pace}"


@contextmanager
def meter() -> Iterator[Any]:
    """A function to show progress with, as long as the block lasts."""
    if not is_interactive():
        yield Meter().show
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = [
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(),
        TimeRemainingColumn(compact=True), TextColumn("[dim]{task.fields[item]}"),
    ]  # fmt: skip
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(STAGES[progress.stage], item="", start=True)
            bars.update(
                tasks[progress.stage],
                completed=progress.done_bytes, total=progress.total_bytes, item=one_line(progress.item, 40),
            )  # fmt: skip

        yield show


def follow_pull(events: Iterable[PullEvent], is_dry_run: bool) -> tuple[Chosen | None, Installed | None]:
    """Show a pull as it goes; returns what was chosen and what was installed. A dry run ends with the choice."""
    chosen: Chosen | None = None
    with meter() as show:
        for event in events:
            match event:
                case Chosen():
                    chosen = event
                    say(sentence(event))
                    if is_dry_run:
                        break
                case Progress():
                    show(event)
                case Ready(model):
                    return chosen, model
    return chosen, None


def sentence(chosen: Chosen) -> str:
    """The decision in words, the reason first."""
    download = f"{size(chosen.download_bytes)} to download, " if chosen.download_bytes else ""
    disk = f"{size(chosen.disk_bytes)} on the disk" if chosen.disk_bytes else "linked, not copied"
    return f"{chosen.name}: {'; '.join(chosen.plan.reasons)}.\n{download}{disk}."


def plan_facts(name: str, plan: Plan, parameters: int, download_bytes: int, disk_bytes: int) -> dict[str, Any]:
    """A plan as programs read it."""
    place = "GPU" if plan.fits == "gpu" else "memory"
    device = {
        "name": place, "weights_bytes": plan.weights_bytes, "kv_bytes": plan.kv_bytes,
        "compute_bytes": plan.compute_bytes, "free_bytes": plan.room_bytes,
    }  # fmt: skip
    return {
        "model": name,
        "quant": plan.quant,
        "bits_per_weight": round(8 * plan.weights_bytes / parameters, 2) if parameters else None,
        "context": plan.context,
        "kv_type": plan.kv_type,
        "gpu_layers": plan.gpu_layers,
        "layers": plan.layers,
        "threads": plan.threads,
        "batch": plan.batch,
        "fits": plan.fits,
        "predicted": {"devices": [device], "tokens_per_second": None},
        "download_bytes": download_bytes,
        "disk_bytes": disk_bytes,
        "reasons": list(plan.reasons),
    }


def model_facts(model: Installed) -> dict[str, Any]:
    """An installed model as programs read it."""
    receipt = model.receipt
    return {
        "name": model.name,
        "quant": receipt.quant,
        "bytes": receipt.file_bytes,
        "source": receipt.source,
        "commit": receipt.commit,
        "installed_at": receipt.installed_at,
        "last_used_at": model.last_used_at,
        "tokens_per_second": model.tokens_per_second,
    }


def file_facts(name: str, file: ModelFile, model: Installed | None) -> dict[str, Any]:
    """A model file and its receipt as programs read them."""
    has_template = "tokenizer.chat_template" in file.metadata
    return {
        "name": name,
        "path": str(file.path),
        "architecture": file.architecture,
        "parameters": file.parameters,
        "quant": file.quant,
        "bytes": file.file_bytes,
        "context": file.fact("context_length"),
        "template_source": "model file" if has_template else None,
        "receipt": asdict(model.receipt) if model else None,
    }


def print_facts(facts: dict[str, Any]) -> None:
    """What `show` found, a line each; of a receipt what a person looks for."""
    receipt = facts.pop("receipt") or {}
    lines = {
        "Name": facts["name"],
        "File": facts["path"],
        "Architecture": f"{facts['architecture']}, {facts['parameters'] / 1e6:,.1f} M parameters",
        "Type": f"{facts['quant']}, {size(facts['bytes'])}",
        "Context": f"{facts['context']:,} tokens" if facts["context"] else "not stated",
        "Chat template": facts["template_source"] or "none",
        "Made from": " at ".join(filter(None, (receipt.get("source"), receipt.get("commit")))),
        "Installed": receipt.get("installed_at"),
        "sha256": receipt.get("file_sha256"),
        "Checked": ", ".join(receipt.get("checks", ())),
    }
    for name, value in lines.items():
        if value:
            print(f"{name:14} {one_line(str(value))}")


def offer_facts(offer: Offer) -> dict[str, Any]:
    """A catalog entry as programs read it, with the plan for this machine."""
    entry = offer.entry
    facts = {key: value for key, value in asdict(entry).items() if key not in ("config", "title", "download_bytes")}
    plan = offer.plan and plan_facts(entry.name, offer.plan, 0, entry.download_bytes, offer.plan.weights_bytes)
    return {**facts, "context": entry.context, "plan": plan}


def print_offers(found: Sequence[Offer]) -> None:
    """The catalog as a table, and what to type next."""
    rows = [
        (
            offer.entry.name,
            f"{offer.plan.quant}, {size(offer.plan.weights_bytes)}" if offer.plan else "does not fit",
            "none" if offer.is_local else size(offer.entry.download_bytes),
            offer.entry.licence,
            offer.entry.format,
            ", ".join(notes(offer)),
        )
        for offer in found
    ]
    print_table(("Name", "Here as", "Download", "Licence", "Prompt format", "Notes"), rows, right=(2,))
    say("Install one: localchat pull NAME")


def notes(offer: Offer) -> list[str]:
    """What a person should know before choosing."""
    entry = offer.entry
    marks = {"installed": offer.is_installed, "gated": entry.gated, "uncensored": entry.uncensored}
    return [mark for mark, holds in marks.items() if holds]
