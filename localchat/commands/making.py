"""`localchat pull` and `localchat convert`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from localchat.arguments import making_options, rpc_option, settings, wish_options, wished


@click.command()
@click.argument("source")
@wish_options
@click.option("--revision", help="Branch, tag or commit of a Hub repository.")
@click.option("--name", help="Name to install the model under.")
@making_options
@click.option("--keep-checkpoint", is_flag=True, help="Download the whole checkpoint into the Hub's cache and keep it.")
@rpc_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def pull(
    source: str, revision: str | None, name: str | None, base: str | None, imatrix: Path | None,
    allow_requantize: bool, keep_checkpoint: bool, rpc: tuple[str, ...], dry_run: bool, as_json: bool, **wish: Any,
) -> None:  # fmt: skip
    """Install a model.

    SOURCE is a catalog name, owner/repo, owner/repo:TYPE, a page of the Hub or of a file on it, a checkpoint folder, a
    .gguf file, or the name of an installed model, which is then brought up to date.
    """
    from dataclasses import replace

    from localchat.commands.pull_page import choice_facts
    from localchat.paths import model_name, models_folder
    from localchat.plan.here import this_machine
    from localchat.printing import follow_pull, model_facts, print_json, say, say_notes
    from localchat.pull.install import pull as pulled
    from localchat.pull.source import Making, parse
    from localchat.text import size

    origin = replace(parse(source, revision), making=Making(base, imatrix, allow_requantize, keep_checkpoint))
    origin = replace(origin, name=model_name(name)) if name else origin
    machine = this_machine(models_folder(), rpc=rpc, measure=True)
    with closing(pulled(origin, wished(**wish), machine)) as events:
        chosen, model = follow_pull(events, dry_run)
    if as_json and chosen and dry_run:
        print_json(choice_facts(chosen))
    elif as_json and model:
        print_json(model_facts(model))
    elif model and not (chosen and chosen.is_present):
        receipt = model.receipt
        say_notes(receipt.notes)
        say(f"{model.name} is ready: {receipt.quant}, {size(receipt.file_bytes)}. Chat: localchat {model.name}")


@click.command()
@click.argument("source")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--type", "quant", required=True, metavar="TYPE", help="A llama.cpp file type such as Q4_K_M, Q8_0 or F16."
)
@click.option("--revision", help="Branch, tag or commit of a Hub repository.")
@making_options
def convert(source: str, out: Path, quant: str, revision: str | None, **making: Any) -> None:
    """Write a checkpoint, or a model file of another type, as a model file, without installing it."""
    from dataclasses import replace

    from localchat.plan.detect import usable_cores
    from localchat.printing import say, say_notes, watched
    from localchat.pull.install import convert as converted
    from localchat.pull.source import Making, parse
    from localchat.text import size

    origin = replace(parse(source, revision), making=Making(**making))
    built = watched(converted(origin, out, quant, settings().threads or usable_cores()))
    say_notes((*built.notes, *built.proof.notes))
    say(f"{out} is written: {size(out.stat().st_size)}.")
