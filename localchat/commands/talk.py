"""`localchat run`."""

from __future__ import annotations

from typing import Any

import click

from localchat.arguments import check_sampling, loading_options, model_named, prompt_text, settings


@click.command()
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
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print the answer and its facts as JSON.")
def run(
    model: str, prompt: str | None, system: str | None, stop: tuple[str, ...], context: int | None,
    rpc: tuple[str, ...], as_json: bool, **sampling: Any,
) -> None:  # fmt: skip
    """Answer one prompt, given as an argument, on standard input, or both."""
    from localchat.answer import answer
    from localchat.launch import Launch
    from localchat.printing import print_json

    text = prompt_text(prompt)
    check_sampling(sampling)
    facts = answer(model_named(model), settings(), text, system, stop, sampling, Launch(context or 0, rpc), as_json)
    if as_json:
        print_json(facts)
