"""How the command line shows things: bars and tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from localchat.errors import LocalchatError
from localchat.gguf_file import ModelFile
from localchat.library import Check, Installed
from localchat.pull.events import Chosen, Progress, PullEvent, Ready
from localchat.pull.offers import INSTALLED, Offer
from localchat.pull.pace import Pace
from localchat.text import clean, is_interactive, one_line, size

if TYPE_CHECKING:
    from rich.progress import TaskID

Found = TypeVar("Found")
MARKS = {"passed": "✓", "noted": "·", "repaired": "~", "failed": "✗"}
COLUMN_CELLS = 32  # a longer name is cut in a table
LINE_SECONDS = 5.0  # between lines of progress where nobody watches a bar


def say(text: str) -> None:
    """Words for a person, on standard error."""
    print(clean(text), file=sys.stderr, flush=True)


def say_notes(notes: Iterable[str]) -> None:
    """What was repaired or left out on the way, a line each."""
    for note in notes:
        say(f"note: {one_line(note, 500)}")


def print_json(value: Any) -> None:
    """Facts for a program, on standard output."""
    print(json.dumps(value, indent=2))


def print_error(error: LocalchatError) -> None:
    """One sentence and the next step."""
    say(f"localchat: {one_line(str(error), 500)}\n  {one_line(error.hint, 500)}")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A table on standard output; the columns in `right` are numbers. The last column takes what room is left."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    cells = [[Text(one_line(cell)) for cell in row] for row in rows]
    widths = [max(len(heading), *(row[index].cell_len for row in cells)) for index, heading in enumerate(headings)]
    widths = [min(width, COLUMN_CELLS) for width in widths[:-1]]
    widths.append(max(len(headings[-1]), console.width - sum(widths) - 2 * len(headings)))
    for index, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        side: Literal["left", "right"] = "right" if index in right else "left"
        table.add_column(heading, justify=side, no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        table.add_row(*row)
    console.print(table)


@contextmanager
def meter() -> Iterator[Callable[[Progress], None]]:
    """A function to show progress with as long as the block lasts: a bar on a terminal, else a line now and then."""
    if is_interactive():
        with _bars() as show:
            yield show
    else:
        yield _lines()


def _lines() -> Callable[[Progress], None]:
    pace, next_at = Pace(), 0.0

    def show(progress: Progress) -> None:
        nonlocal next_at
        words, now = pace.words(progress), time.monotonic()
        if now >= next_at or progress.done_bytes == progress.total_bytes:
            next_at = now + LINE_SECONDS
            say(words)

    return show


@contextmanager
def _bars() -> Iterator[Callable[[Progress], None]]:
    """One bar for each stage, the words of its pace, and what is at hand."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    pace = Pace()
    columns = [
        BarColumn(bar_width=24),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[item]}", style="dim", markup=False),
    ]
    with Bars(*columns, console=Console(stderr=True, highlight=False)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task("", item="")
            is_done = progress.done_bytes == progress.total_bytes
            bars.update(
                tasks[progress.stage],
                description=pace.words(progress),
                completed=progress.done_bytes,
                total=progress.total_bytes,
                item="" if is_done else one_line(progress.item, 30),
            )

        yield show


def follow_pull(events: Iterable[PullEvent], is_dry_run: bool) -> tuple[Chosen | None, Installed | None]:
    """Show a pull as it goes; returns what was chosen and what was installed. A dry run ends with the choice."""
    from localchat.commands.pull_page import choice_lines

    chosen: Chosen | None = None
    with meter() as show:
        for event in events:
            match event:
                case Chosen():
                    chosen = event
                    say("\n".join(choice_lines(event)))
                    if is_dry_run:
                        break
                case Progress():
                    show(event)
                case Ready(model):
                    return chosen, model
    return chosen, None


def watched(events: Generator[Progress, None, Found]) -> Found:
    """Show the progress of something; returns its result."""
    with meter() as show, closing(events):
        while True:
            try:
                show(next(events))
            except StopIteration as end:
                return cast("Found", end.value)


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
    receipt = facts["receipt"] or {}
    lines = {
        "Name": facts["name"],
        "File": facts["path"],
        "Architecture": f"{facts['architecture']}, {facts['parameters'] / 1e6:,.1f} M parameters",
        "Type": f"{facts['quant']}, {size(facts['bytes'])}",
        "Context": f"{facts['context']:,} tokens" if isinstance(facts["context"], int) else "not stated",
        "Chat template": facts["template_source"] or "none",
        "Made from": " at ".join(filter(None, (receipt.get("source"), receipt.get("commit")))),
        "Installed": receipt.get("installed_at"),
        "sha256": receipt.get("file_sha256"),
    }
    for name, value in lines.items():
        if value:
            print(f"{name:14} {one_line(str(value))}")
    if checks := receipt.get("checks"):
        print("\nProved when it was installed")
        print_checks([Check(**check) for check in checks])
    if notes := receipt.get("notes"):
        print("\nOn its checkpoint")
        for note in notes:
            print(f"  {one_line(note, 500)}")


def print_checks(checks: Sequence[Check]) -> None:
    """What was checked, a line each; what did not simply pass says so in a word."""
    for check in checks:
        word = "" if check.verdict == "passed" else f"{check.verdict}: "
        print(f"  {MARKS[check.verdict]} {check.name:14}{one_line(word + (check.detail or 'checked'), 500)}")


def offer_facts(offer: Offer) -> dict[str, Any]:
    """A catalog entry as programs read it, with the plan for this machine."""
    from localchat.commands.plan_page import plan_facts

    entry = offer.entry
    facts = {key: value for key, value in asdict(entry).items() if key not in ("config", "title", "download_bytes")}
    plan = offer.plan and plan_facts(entry.name, offer.plan, entry.download_bytes, offer.plan.weights_bytes)
    return {**facts, "context": entry.context, "plan": plan}


def print_offers(found: Sequence[Offer]) -> None:
    """The catalog as a table, and what to type next."""
    rows = [
        (
            offer.entry.name,
            f"{offer.plan.quant} {size(offer.plan.weights_bytes)}" if offer.plan else "does not fit",
            INSTALLED if offer.is_installed else "none" if offer.is_local else size(offer.entry.download_bytes),
            " ".join(mark for mark in offer.marks if mark != INSTALLED),
            offer.entry.licence,
        )
        for offer in found
    ]
    print_table(("Name", "Here as", "Download", "Notes", "Licence"), rows, right=(2,))
    say("Install one: localchat pull NAME")
