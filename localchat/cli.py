"""The command line: parses, calls one function, prints. Each command imports what it needs when it is called."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import click

from localchat import __version__
from localchat.arguments import loading_options, model_named, remote_model, remote_options, settings
from localchat.commands.adopting import adopt
from localchat.commands.history import history
from localchat.commands.library import catalog, models, remove, show, verify
from localchat.commands.machine import doctor, hardware, plan
from localchat.commands.making import convert, pull
from localchat.commands.measure import bench
from localchat.commands.serving import serve, status, stop
from localchat.commands.talk import run
from localchat.errors import LocalchatError

if TYPE_CHECKING:
    from localchat.tui.chosen import Chosen

DONE, FAILED, INTERRUPTED = 0, 1, 130
APP_OPTIONS = ("--remote", "--token")


class Commands(click.Group):
    """Commands by name; any other first word is the model to open the app with, and options of the app open it too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        place = next((place for place, word in enumerate(args) if word != "--debug"), len(args))
        if place < len(args) and args[place].partition("=")[0] in APP_OPTIONS:
            args = [*args[:place], "app", *args[place:]]
        return super().parse_args(ctx, args)

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

    `localchat` alone opens the terminal app, `localchat MODEL` opens it with that model, and
    `localchat --remote URL [MODEL]` with one that an OpenAI-compatible server runs.
    """
    ctx.obj = debug
    if ctx.invoked_subcommand is None:
        ctx.invoke(app)


@localchat.command(hidden=True)
@click.argument("model", required=False)
@loading_options
@remote_options
def app(
    model: str | None, context: int | None = None, rpc: tuple[str, ...] = (), remote: str | None = None,
    token: str | None = None,
) -> None:  # fmt: skip
    """Open the terminal app with a model, or with --remote a model of a server."""
    from localchat.launching import Launch
    from localchat.tui.app import run_app

    if remote is not None:
        chosen: Chosen | None = remote_model(remote, model, token, context, rpc)
    else:
        chosen = model_named(model, commands=localchat.commands) if model else None
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        raise LocalchatError("the app needs a terminal", "in a script, use: localchat run MODEL PROMPT")
    run_app(settings(), chosen, Launch(context or 0, rpc))


for command in (
    run, pull, convert, models, show, verify, remove, adopt, catalog, plan, hardware, doctor, bench, history,
    serve, status, stop,
):  # fmt: skip
    localchat.add_command(command)


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
