"""`localchat bench`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from localchat.arguments import loading_options, model_named, settings

if TYPE_CHECKING:
    from localchat.bench import Measured

HEADINGS = ("Test", "Tokens", "Behind", "At once", "Tokens/s", "First token")


@click.command()
@click.argument("model")
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def bench(model: str, context: int | None, rpc: tuple[str, ...], as_json: bool) -> None:
    """Measure how fast a model reads and writes here: behind texts of several lengths, and for several at once."""
    from localchat.bench import CLIENTS, measured, usual_rate
    from localchat.launch import launch
    from localchat.launching import Launch
    from localchat.library import remember_use
    from localchat.printing import print_json, say, say_notes

    installed = model_named(model)
    how = Launch(context or 0, rpc, slots=max(CLIENTS), is_kept=False)
    launched = launch(installed, settings(), lambda _fraction: None, how)
    with launched.engine as engine:
        say_notes(launched.notes)
        rows = list(measured(engine, max(CLIENTS)))
    remember_use(installed, usual_rate(rows))
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        _print(rows)
        say("Other programs make these rates lower, never higher.")


def _print(rows: Sequence[Measured]) -> None:
    from localchat.printing import print_table

    print_table(HEADINGS, [_cells(row) for row in rows], right=(1, 2, 3, 4, 5))


def _cells(row: Measured) -> tuple[str, ...]:
    rate = f"{row.tokens_per_second:.1f}" if row.tokens_per_second is not None else ""
    first = f"{row.first_token * 1000:,.0f} ms" if row.first_token is not None else ""
    return row.test, f"{row.tokens:,}", f"{row.depth:,}", str(row.clients), rate, first
