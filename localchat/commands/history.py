"""`localchat history`: earlier conversations from the shell."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from localchat.arguments import FILE
from localchat.errors import LocalchatError
from localchat.text import counted, one_line

if TYPE_CHECKING:
    from localchat.history.store import History

FORMATS = click.Choice(["markdown", "json"])
NUMBERS = click.argument("numbers", type=int, nargs=-1, metavar="[NUMBER]...")


@click.group(invoke_without_command=True)
@click.pass_context
def history(ctx: click.Context) -> None:
    """List, search, show, export, import and delete earlier conversations."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@contextmanager
def _opened() -> Iterator[History]:
    from localchat.history.store import History
    from localchat.paths import history_file

    history = History(history_file())
    try:
        yield history
    finally:
        history.close()


@history.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_(as_json: bool = False) -> None:
    """List the conversations by day, the latest first."""
    from localchat.commands.history_page import heading_facts, print_days
    from localchat.printing import print_json, say

    with _opened() as opened:
        found = opened.conversations()
    if as_json:
        print_json([heading_facts(heading) for heading in found])
    elif found:
        print_days(found)
    else:
        say("No conversation has been kept yet. Begin one: localchat")


@history.command()
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1), default=50, help="So many conversations at most.")
@click.option("--json", "as_json", is_flag=True, help="Print what is found as JSON.")
def search(words: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Find the conversations that have all of these words in one message, or in their title."""
    from localchat.commands.history_page import hit_facts, print_hits
    from localchat.printing import print_json, say

    with _opened() as opened:
        hits = opened.search(" ".join(words), limit)
    if as_json:
        print_json([hit_facts(hit) for hit in hits])
    elif hits:
        print_hits(hits)
    else:
        say("Nothing was found.")


@history.command()
@click.argument("number", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, with all of its branches.")
def show(number: int, as_json: bool) -> None:
    """Print the conversation of this number, as `list` says it."""
    from localchat.commands.history_page import print_conversation
    from localchat.history.export import facts
    from localchat.printing import print_json

    with _opened() as opened:
        if as_json:
            print_json({"id": number, **facts(opened.whole(number))})
        else:
            messages = opened.messages(number)
            print_conversation(opened.heading(number), messages)


@history.command()
@NUMBERS
@click.option("--all", "is_all", is_flag=True, help="Export all conversations.")
@click.option(
    "--format", "form", type=FORMATS, help="markdown is to read, json to import; else the file's ending says."
)
@click.option("--output", type=click.Path(path_type=Path), help="A file that is not there yet; else standard output.")
def export(numbers: tuple[int, ...], is_all: bool, form: str | None, output: Path | None) -> None:
    """Write conversations as Markdown to read, or as JSON that can be imported."""
    from localchat.history.export import exported, write_new
    from localchat.printing import say

    if bool(numbers) == is_all:
        raise click.UsageError("give the numbers of conversations, or --all")
    ending = "json" if output is not None and output.suffix.lower() == ".json" else "markdown"
    with _opened() as opened:
        chosen = [heading.id for heading in opened.conversations()] if is_all else list(dict.fromkeys(numbers))
        text = exported(opened, chosen, "json" if (form or ending) == "json" else "markdown")
    if output is None:
        print(text, end="")
        return
    try:
        write_new(output, text)
    except FileExistsError as error:
        raise LocalchatError(f"{output} is there already", "give --output a name that is not taken") from error
    say(f"{counted(len(chosen), 'conversation')} written to {output}.")


@history.command("import")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the new numbers as JSON.")
def import_(file: Path, as_json: bool) -> None:
    """Add the conversations of a JSON file that `export` wrote. Those that are there already are there twice then."""
    from localchat.history.importing import import_file
    from localchat.printing import print_json, say

    with _opened() as opened:
        numbers = import_file(opened, file)
    if as_json:
        print_json({"ids": numbers})
    say(f"{counted(len(numbers), 'conversation')} added. Nothing that was there has changed.")


@history.command()
@click.argument("numbers", type=int, nargs=-1, required=True, metavar="NUMBER...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(numbers: tuple[int, ...], yes: bool) -> None:
    """Delete conversations for good, from the disk too."""
    from localchat.engine.store import forget
    from localchat.paths import sessions_folder
    from localchat.printing import say

    with _opened() as opened:
        titles = {number: one_line(_title(opened, number), 60) for number in numbers}
        if not yes:
            _ask(titles)
        for number, title in titles.items():
            opened.erase(number)
            forget(sessions_folder())
            say(f"{number} is deleted: {title}")


def _title(opened: History, number: int) -> str:
    heading = opened.heading(number)
    if heading is None:
        raise LocalchatError(f"there is no conversation {number}", "list them: localchat history list")
    return heading.title


def _ask(titles: dict[int, str]) -> None:
    """Raises Abort where the answer is no, and LocalchatError where nobody can answer."""
    if not (sys.stdin and sys.stdin.isatty()):
        raise LocalchatError("nobody can be asked whether to delete", "say so with --yes")
    for number, title in titles.items():
        click.echo(f"{number}  {title}", err=True)
    click.confirm(f"Delete {counted(len(titles), 'conversation')} for good?", abort=True, err=True)
