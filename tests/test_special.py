"""Which tokens begin and end texts and turns, and who counts where the files disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import CONFIG, checkpoint, with_json

from localchat.convert.config import parse_config
from localchat.convert.template import read_templates
from localchat.convert.tokenizer.vocab import Vocab, read_vocab

ROWS = CONFIG["vocab_size"]
IM_END = "<|im_end|>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint whose tokenizer has seven pieces and whose embedding has nine rows."""
    return checkpoint(tmp_path / "checkpoint")


def vocab(folder: Path, **config: Any) -> Vocab:
    """The vocabulary, with some values of config.json changed."""
    return read_vocab(folder, parse_config({**CONFIG, **config}), read_templates(folder))


@pytest.mark.parametrize(
    ("config", "tokens", "generation", "special"),
    [
        ({}, {}, {}, {"bos": 1, "eos": 2}),
        ({"eos_token_id": [2, 1]}, {}, {}, {"bos": 1, "eos": 2, "eot": 1}),
        ({"eos_token_id": [99, 5]}, {}, {}, {"bos": 1, "eos": 5}),
        ({"bos_token_id": -1, "pad_token_id": True, "unk_token_id": 0}, {}, {}, {"bos": 1, "eos": 2, "unk": 0}),
        ({}, {"eos_token": "b"}, {}, {"bos": 1, "eos": 5, "eot": 2}),
        ({}, {"eos_token": {"content": "b"}, "unk_token": "<unk>"}, {}, {"bos": 1, "eos": 5, "unk": 0, "eot": 2}),
        ({}, {"eos_token": "never seen", "pad_token": None}, {}, {"bos": 1, "eos": 2}),
        ({}, {}, {"eos_token_id": 2}, {"bos": 1, "eos": 2}),
        ({}, {}, {"eos_token_id": 5}, {"bos": 1, "eos": 2, "eot": 5}),
        ({}, {}, {"eos_token_id": [2, 4, 5]}, {"bos": 1, "eos": 2, "eot": 4, "eom": 5}),
        ({}, {}, {"eos_token_id": 0}, {"bos": 1, "eos": 2, "eot": 0}),
        ({}, {}, {"eos_token_id": ROWS}, {"bos": 1, "eos": 2}),
        ({}, {}, {"eos_token_id": [99, -1, "2", None, True]}, {"bos": 1, "eos": 2}),
    ],
)
def test_special_tokens_are_found_by_role(
    config: dict[str, Any], tokens: dict[str, Any], generation: dict[str, Any], special: dict[str, int], folder: Path
) -> None:
    with_json(folder, "tokenizer_config.json", **tokens)
    with_json(folder, "generation_config.json", **generation)
    assert vocab(folder, **config).special == special


@pytest.mark.parametrize("entry", ["b", {"content": "b", "special": True}])
def test_the_map_of_special_tokens_counts_where_the_config_of_the_tokenizer_is_silent(entry: Any, folder: Path) -> None:
    with_json(folder, "special_tokens_map.json", eos_token=entry, bos_token="mine")
    found = vocab(with_json(folder, "tokenizer_config.json", bos_token="<s>"))
    assert (found.special["bos"], found.special["eos"]) == (1, 5)


def test_all_that_end_a_turn_are_kept_where_the_files_disagree(folder: Path) -> None:
    with_json(folder, "tokenizer_config.json", eos_token="b")
    found = vocab(with_json(folder, "generation_config.json", eos_token_id=[4, 2]), eos_token_id=3)
    assert found.ends == (5, 3, 4, 2)
    assert {kind: found.special[kind] for kind in ("eos", "eot", "eom")} == {"eos": 5, "eot": 3, "eom": 4}
    assert found.notes == (
        "it is not agreed which token ends a turn, so each of them does: "
        "the tokenizer says 5; config.json says 3; generation_config.json says 2, 4",
        "a model file has room for 3 tokens that end a turn, so these are not in it: 2",
    )


def test_files_that_agree_leave_no_note(folder: Path) -> None:
    with_json(folder, "generation_config.json", eos_token_id=2)
    found = vocab(with_json(folder, "tokenizer_config.json", eos_token="</s>", bos_token="<s>"))
    assert (found.ends, found.notes) == ((2,), ())


def test_an_id_out_of_range_is_named_in_a_note(folder: Path) -> None:
    found = vocab(with_json(folder, "generation_config.json", eos_token_id=99), eos_token_id=9)
    assert found.ends == (2,)  # SentencePiece's own word is left
    assert found.notes == (
        "config.json's eos lies beyond the 9 tokens and does not count: 9",
        "generation_config.json's eos lies beyond the 9 tokens and does not count: 99",
    )


def test_another_bos_than_config_says_is_named_in_a_note(folder: Path) -> None:
    found = vocab(with_json(folder, "tokenizer_config.json", bos_token="mine"))
    assert found.special["bos"] == 6
    assert found.notes == ("config.json's bos is 1 and the tokenizer's is 6, which counts",)


@pytest.mark.parametrize("text", [IM_END, "<|end_of_turn|>", "<|eot_id|>"])
def test_a_token_that_ends_turns_in_the_template_ends_turns(text: str, folder: Path) -> None:
    with_json(folder, "added_tokens.json", **{text: 7})
    assert vocab(folder).ends == (2,)
    found = vocab(with_json(folder, "tokenizer_config.json", chat_template=f"{{{{ 'x{text}' }}}}"))
    assert found.ends == (2, 7)
    assert found.special["eot"] == 7


@pytest.mark.parametrize(
    ("settings_", "adds", "space"),
    [
        ({}, {}, None),
        ({"add_bos_token": True, "add_eos_token": False}, {"bos": True, "eos": False}, None),
        ({"add_bos_token": 1, "add_eos_token": "no", "add_prefix_space": None}, {}, None),
        ({"add_prefix_space": False}, {}, False),
    ],
)
def test_what_the_tokenizer_adds_is_said_only_if_it_says_so(
    settings_: dict[str, Any], adds: dict[str, bool], space: bool | None, folder: Path
) -> None:
    found = vocab(with_json(folder, "tokenizer_config.json", **settings_))
    assert (found.adds, found.space_prefix) == (adds, space)


def steps(*names: str | None) -> list[dict[str, Any]]:
    """A template of the post-processor: special tokens by name, A and B in the places of None."""
    letters = iter("AB")
    return [
        {"Sequence": {"id": next(letters), "type_id": 0}}
        if name is None
        else {"SpecialToken": {"id": name, "type_id": 0}}
        for name in names
    ]


def template(single: list[dict[str, Any]], pair: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A post-processor that puts tokens around a text."""
    return {"type": "TemplateProcessing", "single": single, "pair": pair or [], "special_tokens": {}}


BOS_FIRST = template(steps("<s>", None), steps("<s>", None, "<s>", None))
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True}


@pytest.mark.parametrize(
    ("processor", "settings_", "adds"),
    [
        (BOS_FIRST, {}, {"bos": True, "sep": False}),
        (BOS_FIRST, {"add_eos_token": False}, {"bos": True, "sep": False, "eos": False}),
        (BOS_FIRST, {"cls_token": "b"}, {"bos": False, "sep": False}),
        (template(steps("<s>", None, "</s>")), {}, {"bos": True, "eos": True}),
        (template(steps(None)), {"add_bos_token": True}, {"bos": True}),
        (template([], steps(None, "</s>", None)), {"eos_token": "</s>"}, {"sep": True}),
        (BYTE_LEVEL, {}, {"bos": False, "eos": False}),
        ({"type": "Sequence", "processors": [BYTE_LEVEL, BOS_FIRST]}, {}, {"bos": True, "eos": False, "sep": False}),
        ({"type": "Sequence", "processors": "none"}, {}, {}),
        ({"type": "Sequence", "processors": [7, None, {"type": []}]}, {}, {}),
        (template([7, {"SpecialToken": 7}, {"SpecialToken": {"id": 7}}]), {}, {}),  # type: ignore[list-item]
        ([], {}, {}),
        (None, {}, {}),
    ],
)
def test_the_post_processor_says_what_is_put_around_a_text(
    processor: Any, settings_: dict[str, Any], adds: dict[str, bool], folder: Path
) -> None:
    with_json(folder, "tokenizer.json", post_processor=processor)
    assert vocab(with_json(folder, "tokenizer_config.json", **settings_)).adds == adds


def test_the_post_processor_counts_before_the_config_of_the_tokenizer(folder: Path) -> None:
    with_json(folder, "tokenizer.json", post_processor=BOS_FIRST)
    found = vocab(with_json(folder, "tokenizer_config.json", add_bos_token=False))
    assert found.adds["bos"] is True
    assert any("bos" in note and "tokenizer.json counts" in note for note in found.notes)


def test_the_token_behind_every_text_is_the_one_that_ends_it(folder: Path) -> None:
    with_json(folder, "tokenizer.json", post_processor=template(steps("<s>", None, "b")))
    found = vocab(with_json(folder, "tokenizer_config.json", eos_token="</s>"))
    assert (found.special["eos"], found.special["eot"], found.adds["eos"]) == (5, 2, True)
