"""What this machine is, what it can run, and whether all is sound."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localchat.arguments import FILE, rpc_option, wish_options, wished
from localchat.errors import LocalchatError

if TYPE_CHECKING:
    from localchat.plan.make import Machine


@click.command()
@rpc_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, which `plan --hardware FILE` reads.")
def hardware(rpc: tuple[str, ...], as_json: bool) -> None:
    """Show what this machine has to compute with."""
    from localchat.commands.machine_page import print_hardware
    from localchat.paths import home
    from localchat.plan.detect import disk_space
    from localchat.plan.hardware_file import hardware_json
    from localchat.plan.here import this_machine
    from localchat.printing import print_json

    found = this_machine(home() / "models", rpc=rpc, measure=True).hardware
    if as_json:
        print_json(hardware_json(found))
    else:
        print_hardware(found, disk_space(home() / "models")[0])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Look whether everything is sound, and say what mends it where it is not."""
    from localchat.commands.machine_page import print_findings
    from localchat.doctor.examine import examine
    from localchat.printing import print_json, say

    findings = examine()
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        print_findings(findings)
    broken = [finding for finding in findings if finding.state == "broken"]
    if broken:
        count = f"{len(broken)} things are broken, first" if len(broken) > 1 else "one thing is broken"
        hint = f"run: {broken[0].fix}" if broken[0].fix else "see what is said of it above"
        raise LocalchatError(f"{count}: {broken[0].sentence}", hint)
    notes = sum(finding.state == "note" for finding in findings)
    say("Everything is sound." if not notes else f"Nothing is broken; {notes} to note.")


@click.command()
@click.argument("source")
@wish_options
@click.option("--hardware", type=FILE, help="Plan for the machine in this file, as `hardware --json` wrote it.")
@click.option("--revision", help="Branch, tag or commit of a Hub repository.")
@click.option("--base", metavar="SOURCE", help="The model that an adapter belongs to: a folder or owner/repo.")
@rpc_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def plan(
    source: str, hardware: Path | None, revision: str | None, base: str | None, rpc: tuple[str, ...], as_json: bool,
    **wish: Any,
) -> None:  # fmt: skip
    """Show how a model would run on this machine, and why so, without downloading any of it.

    SOURCE is an installed model, or whatever `pull` takes.
    """
    from localchat.commands.plan_page import choice_facts, plan_facts, print_plan
    from localchat.plan.make import compare, make_plan
    from localchat.printing import print_json
    from localchat.pull.decide import normal
    from localchat.pull.preview import preview

    asked = wished(**wish)
    with suppress(LocalchatError):  # a repository of model files may have a type that nobody else knows
        asked = normal(asked)
    machine = _machine(hardware, rpc)
    with preview(source, revision, base, asked) as subject:
        chosen = make_plan(subject.subject, machine, asked, subject.file_sha256)
        choices = compare(subject.subject, machine, asked)
    if as_json:
        facts = plan_facts(subject.name, chosen, subject.download_bytes(chosen), subject.disk_bytes(chosen))
        print_json({**facts, "choices": [choice_facts(choice) for choice in choices]})
    else:
        print_plan(subject.name, chosen, choices)


def _machine(hardware: Path | None, rpc: tuple[str, ...]) -> Machine:
    """The machine in a file, or this one, with the speed of its memories."""
    from localchat.paths import models_folder
    from localchat.plan.hardware_file import read_hardware
    from localchat.plan.here import this_machine
    from localchat.plan.make import Machine

    if hardware is not None:
        return Machine(read_hardware(hardware), is_here=False)
    return this_machine(models_folder(), rpc=rpc, measure=True)
