"""`localchat serve`, `status` and `stop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from localchat.arguments import loading_options, model_named, settings
from localchat.errors import LocalchatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localchat.server.models import Served
    from localchat.server.running import Running
    from localchat.server.serve import Wanted

LOCAL, PORT = "127.0.0.1", 4891
SLOTS = 16  # conversations that the engine writes at once; they share the context
NO_TOKEN = (
    "note: without a token every program and every user of this machine can use the models; pages in a browser cannot"
)
NOT_ENCRYPTED = "note: nothing is encrypted on the way to {host}, the token neither: use it in networks that you trust"


@click.command()
@click.option("--host", default=LOCAL, show_default=True, help="Where to listen; by itself only this machine can ask.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option(
    "--token",
    metavar="TEXT",
    envvar="LOCALCHAT_SERVER_TOKEN",
    show_envvar=True,
    help="What clients must send as their API key, in the place of the one that is made at the first start. "
    "Other users see what is on a command line: better put it into the variable.",
)
@click.option("--no-token", is_flag=True, help="Ask for no token: every program on this machine may use the models.")
@click.option(
    "--allow-host",
    metavar="NAME",
    multiple=True,
    help="A name by which clients may ask it besides its addresses, such as mybox.local; may be repeated.",
)
@click.option("--models", metavar="NAMES", help="Offer these models only, with commas between them.")
@click.option("--background", is_flag=True, help="Go on when the terminal is closed; localchat stop ends it.")
@click.option("--install-service", is_flag=True, help="Write a service that starts this server, and start nothing.")
@loading_options
def serve(
    host: str, port: int, token: str | None, no_token: bool, allow_host: tuple[str, ...], models: str | None,
    background: bool, install_service: bool, context: int | None, rpc: tuple[str, ...],
) -> None:  # fmt: skip
    """Serve the installed models to OpenAI's and Anthropic's clients.

    Models are loaded when they are asked for, and leave the memory after idle_minutes.
    """
    from localchat.launching import Launch
    from localchat.server import serve as server

    if token and no_token:
        raise click.UsageError("give --token or --no-token, not both")
    names = tuple(model_named(name.strip()).name for name in (models or "").split(",") if name.strip())
    known = "" if no_token else _token(token)
    how, has_own_token = Launch(context or 0, rpc, SLOTS), not token and not no_token
    wanted = server.Wanted(host, port, known, has_own_token, names, how, allow_host)
    server.check(wanted)
    _tell_dangers(wanted)
    if install_service:
        _install(wanted)
        return
    _check_alone()
    if background:
        _start(wanted)
    else:
        server.serve(wanted, settings(), lambda running, offered: _tell(running, wanted, offered))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def status(as_json: bool) -> None:
    """Say whether the server runs, where, and which models it has loaded."""
    from localchat.commands.serving_page import facts_of, print_status
    from localchat.printing import print_json
    from localchat.server.running import find

    facts = facts_of(find())
    if as_json:
        print_json(facts)
    else:
        print_status(facts)


@click.command()
def stop() -> None:
    """End the server; replies that are being written may end first, for some seconds."""
    from localchat.printing import say
    from localchat.server.running import find
    from localchat.server.running import stop as end

    running = find()
    if running is None:
        raise LocalchatError("no server runs", "start one with: localchat serve --background")
    end(running)
    say(f"the server at {running.url} is stopped")


def _token(given: str | None) -> str:
    from localchat.server.running import own_token, strong

    return strong(given, "give a longer one, or leave it out") if given else own_token()


def _check_alone() -> None:
    from localchat.server.running import find, runs_already

    running = find()
    if running is not None:
        raise runs_already(running)


def _tell_dangers(wanted: Wanted) -> None:
    from localchat.printing import say
    from localchat.server.access import is_loopback

    if not wanted.token:
        say(NO_TOKEN)
    if not is_loopback(wanted.host):
        say(NOT_ENCRYPTED.format(host=wanted.host))


def _tell(running: Running, wanted: Wanted, offered: Sequence[Served]) -> None:
    """Where it is and what to give to clients."""
    from localchat.printing import say
    from localchat.text import counted, is_interactive

    say(f"serving {counted(len(offered), 'model')} at {running.url}")
    _tell_token(wanted)
    if not offered:
        say("no model is installed yet; pull one with: localchat pull SOURCE")
    if is_interactive():
        say("Ctrl-C ends it")


def _start(wanted: Wanted) -> None:
    """Start it in a process of its own, and say where it is when it is."""
    from localchat.printing import say
    from localchat.server.background import start
    from localchat.server.running import log_file

    running = start(_arguments(wanted), wanted.token if not wanted.has_own_token else "")
    say(f"serving at {running.url}; its log is {log_file()}")
    _tell_token(wanted)
    say("localchat stop ends it")


def _tell_token(wanted: Wanted) -> None:
    """The token is shown to a person only: what else reads this may be a log that is kept."""
    from localchat.printing import say
    from localchat.server.running import token_file
    from localchat.text import is_interactive

    if not wanted.has_own_token:
        return
    if is_interactive():
        say(f"token: {wanted.token}")
    say(f"the token is kept in {token_file()}")


def _install(wanted: Wanted) -> None:
    from localchat.printing import say
    from localchat.server.service import install

    if wanted.token and not wanted.has_own_token:
        raise click.UsageError("a service uses the token that is made at the first start: leave --token out")
    path, enable = install(_arguments(wanted))
    say(f"{path} is written; start the server with: {enable}")


def _arguments(wanted: Wanted) -> list[str]:
    """The same wishes for another process; a token is not among them, because other users can see it there."""
    found = ["--host", wanted.host, "--port", str(wanted.port)]
    found += [word for name in wanted.allowed for word in ("--allow-host", name)]
    found += ["--models", ",".join(wanted.names)] if wanted.names else []
    found += ["--context", str(wanted.how.context)] if wanted.how.context else []
    found += [word for address in wanted.how.rpc for word in ("--rpc", address)]
    return found if wanted.token else [*found, "--no-token"]
