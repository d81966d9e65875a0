"""What is installed, and what could be."""

from __future__ import annotations

from dataclasses import asdict

import click

from localchat.errors import LocalchatError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def models(as_json: bool) -> None:
    """List the installed models."""
    from localchat.library import installed
    from localchat.printing import model_facts, print_json, print_table, say
    from localchat.text import size

    found = installed()
    if as_json:
        print_json([model_facts(model) for model in found])
    elif not found:
        say("No model is installed. See what there is: localchat catalog")
    else:
        rows = [
            (
                model.name, model.receipt.quant, size(model.receipt.file_bytes),
                f"{model.tokens_per_second:.1f}" if model.tokens_per_second else "",
                (model.last_used_at or "")[:10], model.receipt.source,
            )
            for model in found
        ]  # fmt: skip
        print_table(("Name", "Type", "Size", "Tokens/s", "Last used", "Source"), rows, right=(2, 3))


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(model: str, as_json: bool) -> None:
    """Show an installed model, or a .gguf file, and how it came to be."""
    from localchat.gguf_file import read_header
    from localchat.library import find
    from localchat.printing import file_facts, print_facts, print_json
    from localchat.pull.source import existing_path

    path = existing_path(model)
    if path is not None and path.suffix.lower() == ".gguf":
        facts = file_facts(path.stem, read_header(path), None)
    else:
        known = find(model)
        facts = file_facts(known.name, read_header(known.path), known)
    (print_json if as_json else print_facts)(facts)


@click.command()
@click.argument("model")
@click.option("--rebuild", is_flag=True, help="Make every tensor again from the source, and compare the bytes.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def verify(model: str, rebuild: bool, as_json: bool) -> None:
    """Check an installed model once more: its file, its tokens, its template, its weights."""
    from localchat.library import find
    from localchat.plan.detect import usable_cores
    from localchat.printing import print_checks, print_json, say, watched
    from localchat.pull.verify import verify as verified

    checks = watched(verified(find(model), usable_cores() if rebuild else 0))
    if as_json:
        print_json({"name": model, "checks": [asdict(check) for check in checks]})
    else:
        print_checks(checks)
    if failed := [check for check in checks if check.is_failed]:
        raise LocalchatError(f"{model} is not sound: {failed[0].detail}", "remove it and pull it again")
    say(f"{model} is sound: {len(checks)} checks, none failed.")


@click.command()
@click.argument("model")
def remove(model: str) -> None:
    """Delete an installed model."""
    from localchat.library import remove as removed
    from localchat.printing import say
    from localchat.text import size

    freed = removed(model)
    say(f"{model} is removed: {size(freed)}." if freed else f"{model} is removed. Its file stays where it came from.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def catalog(as_json: bool) -> None:
    """List published models that are known, and what of them suits this machine."""
    from localchat.printing import offer_facts, print_json, print_offers
    from localchat.pull.offers import offers

    found = offers()
    if as_json:
        print_json([offer_facts(offer) for offer in found])
    else:
        print_offers(found)
