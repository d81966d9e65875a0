"""Where a catalog entry says something else than the files that were pulled. The files win; the receipt says so."""

from __future__ import annotations

from collections.abc import Iterator

from localchat.catalog import Entry
from localchat.convert.checkpoint import Checkpoint
from localchat.convert.config import Config, parse_config
from localchat.convert.template import Templates
from localchat.text import one_line

# config.json's name, the name in Config, what it is
SHAPE = (
    ("max_position_embeddings", "context", "tokens of context"),
    ("vocab_size", "vocabulary", "tokens in the vocabulary"),
    ("num_hidden_layers", "layers", "layers"),
    ("hidden_size", "hidden", "as the hidden size"),
    ("intermediate_size", "feed_forward", "as the size of the feed-forward network"),
    ("num_attention_heads", "heads", "heads"),
    ("num_key_value_heads", "kv_heads", "heads for keys and values"),
    ("num_local_experts", "experts", "experts"),
)
# By the format: a text that every template of it writes.
SIGNS = {
    "ChatML": "<|im_start|>",
    "Zephyr": "<|user|>",
    "[INST]": "[INST]",
    "Llama-2": "[INST]",
    "Alpaca": "### Instruction:",
    "GPT4 Correct User:": "GPT4 Correct",
    "SynthIA": "USER:",
    "### System:": "### User:",
    "### User:": "### User:",
}
STOP_CHARACTERS = 40


def disagreements(entry: Entry, checkpoint: Checkpoint) -> tuple[str, ...]:
    """What the entry says and the files do not, a sentence each; empty where they agree."""
    return (*_shape(entry, checkpoint.config), *_ends(entry, checkpoint), *_template(entry, checkpoint.templates))


def _shape(entry: Entry, found: Config) -> Iterator[str]:
    said = parse_config(entry.config)
    for key, name, what in SHAPE:
        before, now = getattr(said, name), getattr(found, name)
        if key in entry.config and before != now:
            yield f"the catalog says {before:,} {what} and the files say {now:,}, which counts"
    if "rope_theta" in entry.config and said.rope.base != found.rope.base:
        yield (
            f"the catalog says {said.rope.base:g} as the base of the rotation and the files say {found.rope.base:g}, "
            "which counts"
        )


def _ends(entry: Entry, checkpoint: Checkpoint) -> Iterator[str]:
    said, found = parse_config(entry.config).token_ids.get("eos", ()), checkpoint.config.token_ids.get("eos", ())
    if said and found and said != found:
        yield (
            f"the catalog says that config.json ends a turn with {_ids(said)}, and there it is {_ids(found)}, "
            "which counts"
        )


def _template(entry: Entry, found: Templates) -> Iterator[str]:
    if found.default is None:
        if entry.chats:
            yield f"the catalog says that the model comes with a template for {entry.format}, and the files have none"
        return
    if not entry.chats:
        yield "the catalog says that the model only continues text, and the files have a chat template, which counts"
        return
    sign = SIGNS.get(entry.format)
    if sign and sign not in found.default:
        yield (
            f"the catalog says that the format is {entry.format}, and the chat template of the files writes no "
            f"{sign}; the template counts"
        )
        return
    if entry.stops and not any(stop in found.default for stop in entry.stops):
        stops = " and ".join(one_line(stop, STOP_CHARACTERS) for stop in entry.stops)
        yield f"the catalog ends replies at {stops}, which the chat template of the files does not write"


def _ids(ids: tuple[int, ...]) -> str:
    return ", ".join(map(str, ids[:4]))
