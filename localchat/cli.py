"""The command line: parses, calls one function, prints. Each command imports what it needs when it is called."""

from __future__ import annotations

import io
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from localchat import __version__
from localchat.arguments import check_sampling, making_options, model_named, prompt_text, settings, size_bytes
from localchat.errors import LocalchatError

DONE, FAILED, INTERRUPTED = 0, 1, 130


class Commands(click.Group):
    """Commands by name; any other first word is the model to open the app with."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            return "app", app, args
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="localchat")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
@click.pass_context
def localchat(ctx: click.Context, debug: bool) -> None:
    """Chat with a language model on this machine, offline.

    `localchat` alone opens the terminal app, `localchat MODEL` opens it with that model.
    """
    ctx.obj = debug
    if ctx.invoked_subcommand is None:
        ctx.invoke(app)


@localchat.command(hidden=True)
@click.argument("model", required=False)
@click.option("--context", type=click.IntRange(64), help="Tokens of context to load the model with.")
def app(model: str | None, context: int | None = None) -> None:
    """Open the terminal app."""
    from localchat.tui.app import run_app

    chosen = model_named(model, commands=localchat.commands) if model else None
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        raise LocalchatError("the app needs a terminal", "in a script, use: localchat run MODEL PROMPT")
    run_app(settings(), chosen, context)


@localchat.command()
@click.argument("model")
@click.argument("prompt", required=False)
@click.option("--system", help="System message; an empty one leaves it to the model.")
@click.option("--temperature", type=float, help="0 always takes the likeliest token.")
@click.option("--top-k", type=int, help="Keep the k likeliest tokens.")
@click.option("--top-p", type=float, help="Keep the likeliest tokens of this much probability together.")
@click.option("--min-p", type=float, help="Keep tokens at least this likely relative to the likeliest.")
@click.option("--repeat-penalty", type=float, help="Above 1: repeat less.")
@click.option("--seed", type=int, help="The same seed gives the same answer.")
@click.option("--max-tokens", type=int, help="Length limit of the answer.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End the answer before this text; can be given often.")
@click.option("--context", type=click.IntRange(64), help="Tokens of context to load the model with.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer and its facts as JSON.")
def run(
    model: str, prompt: str | None, system: str | None, stop: tuple[str, ...], context: int | None, as_json: bool,
    **sampling: Any,
) -> None:  # fmt: skip
    """Answer one prompt, given as an argument, on standard input, or both."""
    from localchat.answer import answer
    from localchat.printing import print_json

    text = prompt_text(prompt)
    check_sampling(sampling)
    facts = answer(model_named(model), settings(), text, system, stop, sampling, context, as_json)
    if as_json:
        print_json(facts)


@localchat.command()
@click.argument("source")
@click.option(
    "--quant", default="auto", metavar="TYPE", help="A type such as Q4_K_M; auto takes what suits this machine."
)
@click.option("--size", "size_text", metavar="BYTES", help="Largest size of the model, such as 4.2GiB.")
@click.option("--context", type=click.IntRange(64), help="Tokens of context that must fit as well.")
@click.option("--revision", help="Branch, tag or commit of a Hub repository.")
@click.option("--name", help="Name to install the model under.")
@making_options
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def pull(
    source: str, quant: str, size_text: str | None, context: int | None, revision: str | None, name: str | None,
    dry_run: bool, as_json: bool, **making: Any,
) -> None:  # fmt: skip
    """Install a model.

    SOURCE is a catalog name, owner/repo, a page of the Hub, a checkpoint folder or a .gguf file.
    """
    from dataclasses import replace

    from localchat.paths import model_name
    from localchat.plan.plan import Wish
    from localchat.printing import follow_pull, model_facts, plan_facts, print_json, say, say_notes
    from localchat.pull.install import pull as pulled
    from localchat.pull.source import Making, parse
    from localchat.text import size

    origin = replace(parse(source, revision), making=Making(**making))
    origin = replace(origin, name=model_name(name)) if name else origin
    wish = Wish(
        quant=None if quant.lower() == "auto" else quant.upper(),
        context=context or 0, size_bytes=size_bytes(size_text), threads=settings().threads,
    )  # fmt: skip
    with closing(pulled(origin, wish)) as events:
        chosen, model = follow_pull(events, dry_run)
    if as_json and chosen and dry_run:
        print_json(plan_facts(chosen.name, chosen.plan, chosen.download_bytes, chosen.disk_bytes))
    elif as_json and model:
        print_json(model_facts(model))
    elif model:
        receipt = model.receipt
        say_notes(receipt.notes)
        say(f"{model.name} is ready: {receipt.quant}, {size(receipt.file_bytes)}. Chat: localchat {model.name}")


@localchat.command()
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

    from localchat.plan.hardware import usable_cores
    from localchat.printing import say, say_notes, watched
    from localchat.pull.install import convert as converted
    from localchat.pull.source import Making, parse
    from localchat.text import size

    origin = replace(parse(source, revision), making=Making(**making))
    built = watched(converted(origin, out, quant, settings().threads or usable_cores()))
    say_notes((*built.notes, *built.proof.notes))
    say(f"{out} is written: {size(out.stat().st_size)}.")


@localchat.command()
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


@localchat.command()
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


@localchat.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def verify(model: str, as_json: bool) -> None:
    """Check an installed model once more: its file, its tokens, its template, its weights."""
    from localchat.library import find
    from localchat.printing import print_checks, print_json, say, watched
    from localchat.pull.verify import verify as verified

    checks = watched(verified(find(model)))
    if as_json:
        print_json({"name": model, "checks": [asdict(check) for check in checks]})
    else:
        print_checks(checks)
    if failed := [check for check in checks if check.is_failed]:
        raise LocalchatError(f"{model} is not sound: {failed[0].detail}", "remove it and pull it again")
    say(f"{model} is sound: {len(checks)} checks, none failed.")


@localchat.command()
@click.argument("model")
def remove(model: str) -> None:
    """Delete an installed model."""
    from localchat.library import remove as removed
    from localchat.printing import say
    from localchat.text import size

    say(f"{model} is removed: {size(removed(model))}.")


@localchat.command()
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


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that is not UTF-8 still shows what it can
    try:
        return localchat.main(arguments, prog_name="localchat", standalone_mode=False) or DONE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except LocalchatError as error:
        if "--debug" in arguments:
            raise
        from localchat.printing import print_error

        print_error(error)
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
