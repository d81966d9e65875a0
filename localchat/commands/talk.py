"""`localchat run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from localchat.arguments import (
    FILE,
    check_sampling,
    grammar_text,
    loading_options,
    model_named,
    prompt_text,
    remote_model,
    remote_options,
    remote_words,
    settings,
    with_preset,
)


@click.command()
@click.argument("model", required=False)
@click.argument("prompt", required=False)
@click.option("--system", help="System message; an empty one leaves it to the model.")
@click.option("--preset", metavar="NAME", help="A sampling preset; what is given beside it is stronger.")
@click.option("--temperature", type=float, help="0 always takes the likeliest token.")
@click.option("--top-k", type=int, help="Keep the k likeliest tokens.")
@click.option("--top-p", type=float, help="Keep the likeliest tokens of this much probability together.")
@click.option("--min-p", type=float, help="Keep tokens at least this likely relative to the likeliest.")
@click.option("--typical-p", type=float, help="Keep tokens that surprise as much as is usual there.")
@click.option("--repeat-penalty", type=float, help="Above 1: repeat less.")
@click.option("--presence-penalty", type=float, help="Above 0: say what was said again less often.")
@click.option("--frequency-penalty", type=float, help="Above 0: the more often it was said, the less often again.")
@click.option("--seed", type=int, help="The same seed gives the same answer.")
@click.option("--max-tokens", type=int, help="Length limit of the answer.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End the answer before this text; can be given often.")
@click.option("--schema", type=FILE, help="Answer in JSON that obeys the JSON schema in this file.")
@click.option("--grammar", type=FILE, help="Answer as the GBNF grammar in this file wants it.")
@click.option("--logprobs", type=int, help="With --json: how likely each token was, and so many of the likeliest.")
@click.option("--session", default="", metavar="NAME", help="Go on with the conversation of this name, or begin it.")
@loading_options
@remote_options
@click.option("--json", "as_json", is_flag=True, help="Print the answer and its facts as JSON.")
def run(
    model: str | None, prompt: str | None, system: str | None, stop: tuple[str, ...], context: int | None,
    rpc: tuple[str, ...], remote: str | None, token: str | None, as_json: bool, schema: Path | None,
    grammar: Path | None, session: str, preset: str | None, **sampling: Any,
) -> None:  # fmt: skip
    """Answer one prompt, given as an argument, on standard input, or both.

    With --remote, MODEL is a model of the server. It can be left out where the server has only one and nothing is
    piped in: localchat run --remote URL PROMPT.
    """
    from localchat.answer import Question, answer, answer_remote
    from localchat.launching import Launch
    from localchat.printing import print_json

    sampling = with_preset(preset, sampling)
    if schema and grammar:
        raise click.UsageError("give --schema or --grammar, not both")
    if sampling["logprobs"] is not None and not as_json:
        raise click.UsageError("--logprobs is for --json")
    if remote is not None:
        name, text = remote_words(model, prompt)
        check_sampling(sampling)
        server = remote_model(remote, name, token, context, rpc)
        sampling["grammar"] = grammar_text(schema, grammar, None)
        facts = answer_remote(server, settings(), Question(text, system, stop, sampling, session), as_json)
    elif model is None:
        raise click.MissingParameter(param_type="argument", param_hint="'MODEL'")
    else:
        text = prompt_text(prompt)
        check_sampling(sampling)
        installed = model_named(model)
        sampling["grammar"] = grammar_text(schema, grammar, installed.path)
        question = Question(text, system, stop, sampling, session)
        facts = answer(installed, settings(), question, Launch(context or 0, rpc), as_json)
    if as_json:
        print_json(facts)
