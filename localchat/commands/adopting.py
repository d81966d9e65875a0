"""`localchat adopt`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localchat.errors import LocalchatError

if TYPE_CHECKING:
    from localchat.plan.make import Machine
    from localchat.pull.apps.found import Found

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "is_all", is_flag=True, help="Adopt everything that is not here yet.")
@click.option("--from", "folder", type=FOLDER, help="Look below this folder, and not at the apps.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found, or the adopted models, as JSON.")
def adopt(names: tuple[str, ...], is_all: bool, folder: Path | None, dry_run: bool, as_json: bool) -> None:
    """Find the model files of other apps, and link them without copying.

    Without a NAME it only lists what LM Studio, Ollama, the Hub's cache, Jan, GPT4All, text-generation-webui and
    llama.cpp have here. A NAME is one of the list, or the beginning of one.
    """
    if names and is_all:
        raise click.UsageError("give names, or --all")
    from localchat.commands.adopting_page import found_facts, print_found
    from localchat.printing import print_json, say
    from localchat.pull.adopt import chosen, find, this_place

    found = find(this_place(), folder)
    if not names and not is_all:
        print_json([found_facts(one) for one in found]) if as_json else print_found(found)
        return
    picked = [one for one in found if one.is_new] if is_all else chosen(names, found)
    models = _adopted(picked, dry_run)
    if as_json:
        print_json(models)
    elif not picked:
        say("There is nothing to adopt that is not here already.")


def _adopted(picked: list[Found], is_dry_run: bool) -> list[dict[str, Any]]:
    """Adopt them one after the other; returns facts of each. Raises LocalchatError where it failed with any."""
    from localchat.paths import models_folder
    from localchat.plan.here import this_machine
    from localchat.printing import print_error

    machine = this_machine(models_folder(), measure=True) if picked else None
    models, failed = [], 0
    for one in picked:
        try:
            models.append(_adopt(one, machine, is_dry_run))
        except LocalchatError as error:
            if len(picked) == 1:
                raise
            print_error(error)
            failed += 1
    if failed:
        raise LocalchatError(f"{failed} of {len(picked)} models could not be adopted", "see above why")
    return models


def _adopt(one: Found, machine: Machine | None, is_dry_run: bool) -> dict[str, Any]:
    """Adopt one; returns what it is. That it is here already is no failure."""
    from localchat.commands.adopting_page import found_facts
    from localchat.library import find
    from localchat.printing import follow_pull, model_facts, say, say_notes
    from localchat.pull.adopt import AlreadyHere
    from localchat.pull.adopt import adopt as adopting

    try:
        with closing(adopting(one, machine)) as events:
            model = follow_pull(events, is_dry_run)[1]
    except AlreadyHere as error:
        say(f"{error}.")
        return model_facts(find(error.name))
    if model is None:
        return found_facts(one)
    say_notes(model.receipt.notes)
    say(f"{model.name} is ready. Chat: localchat {model.name}")
    return model_facts(model)
