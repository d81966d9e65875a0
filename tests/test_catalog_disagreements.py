"""Where a catalog entry and the files that were pulled say different things."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from conftest import DATA
from format_goldens import read

from localchat.catalog import Entry, entries, lookup
from localchat.convert.checkpoint import Checkpoint, read_checkpoint
from localchat.convert.config import parse_config
from localchat.convert.template import Templates
from localchat.pull.disagreements import disagreements

PUBLISHED = {name: golden.template for golden in read().values() for name in golden.entries}
FOREIGN = read_checkpoint(DATA / "chatml", "foreign")


def entry_of(name: str) -> Entry:
    entry = lookup(name)
    assert entry is not None
    return entry


def as_said(entry: Entry, template: str | None = None, **config: Any) -> Checkpoint:
    """A checkpoint that is what the entry says, but for what is given."""
    known = entry.template or PUBLISHED.get(entry.name) or None
    return replace(
        FOREIGN,
        config=parse_config({**entry.config, **config}),
        templates=Templates(known if template is None else template or None),
    )


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.repo], ids=lambda entry: entry.name)
def test_files_that_are_as_the_entry_says_are_not_mentioned(entry: Entry) -> None:
    assert disagreements(entry, as_said(entry)) == ()


CASES: list[tuple[str, dict[str, Any], str]] = [
    ("zephyr-7b-beta", {"max_position_embeddings": 4096}, "32,768 tokens of context and the files say 4,096"),
    ("dolphin-2.0-mistral-7b", {"vocab_size": 32002}, "32,000 tokens in the vocabulary and the files say 32,002"),
    ("orca-2-13b", {"num_hidden_layers": 32}, "40 layers and the files say 32"),
    ("orca-2-13b", {"num_key_value_heads": 8}, "40 heads for keys and values and the files say 8"),
    ("mixtral-8x7b-instruct-v0.1", {"num_local_experts": 4}, "8 experts and the files say 4"),
    ("dolphin-2.8-mistral-7b-v02", {"rope_theta": 10000.0}, "1e+06 as the base of the rotation and the files say"),
    ("dolphin-2.1-mistral-7b", {"eos_token_id": [2, 32000]}, "ends a turn with 32000, and there it is 2, 32000"),
    ("zephyr-7b-beta", {"template": ""}, "a template for Zephyr, and the files have none"),
    ("mistral-7b-v0.1", {"template": "[INST]"}, "only continues text, and the files have a chat template"),
    ("openchat-3.5", {"template": "### User:"}, "GPT4 Correct User:, and the chat template of the files writes no"),
    ("synthia-7b-v1.3", {"template": "<|im_start|>"}, "SynthIA, and the chat template of the files writes no USER:"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "words"), CASES)
def test_one_difference_is_one_sentence(name: str, changes: dict[str, Any], words: str) -> None:
    entry = entry_of(name)
    (sentence,) = disagreements(entry, as_said(entry, **changes))
    assert words in sentence


def test_a_text_that_ends_replies_and_is_never_written_is_mentioned() -> None:
    entry = replace(entry_of("zephyr-7b-beta"), stops=("<|end|>", "\x1b[31m"))
    (sentence,) = disagreements(entry, as_said(entry))
    assert "ends replies at <|end|> and" in sentence
    assert "\x1b" not in sentence


def test_what_an_entry_does_not_say_is_no_difference() -> None:
    entry = Entry("a", "A model", "mit", "none", config={"architectures": ["MistralForCausalLM"]})
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2}
    entry = replace(entry, config={**entry.config, **shape})
    found = parse_config({**entry.config, "vocab_size": 9, "eos_token_id": 3, "rope_theta": 5.0})
    assert disagreements(entry, replace(FOREIGN, config=found, templates=Templates())) == ()


def test_a_checkpoint_of_another_kind_differs_in_all_that_it_is() -> None:
    found = disagreements(entry_of("zephyr-7b-beta"), FOREIGN)
    assert len(found) == 8
    assert all(sentence.startswith("the catalog says ") for sentence in found)
