"""The vocabulary of a model file, put together from the tokenizer's files; and where the chat template is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import CONFIG, PIECES, checkpoint, refused, sound_or_refused, tokenizer, with_json

from localchat.convert.config import parse_config
from localchat.convert.template import read_template
from localchat.convert.vocab import Vocab, read_vocab

ROWS = CONFIG["vocab_size"]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
IM_END, IM_START = "<|im_end|>", "<|im_start|>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint whose tokenizer has seven pieces and whose embedding has nine rows."""
    return checkpoint(tmp_path / "checkpoint")


def vocab(folder: Path, **config: Any) -> Vocab:
    """The vocabulary, with some values of config.json changed."""
    return read_vocab(folder, parse_config({**CONFIG, **config}))


def added(**tokens: dict[str, Any]) -> dict[str, Any]:
    """An `added_tokens_decoder` of tokens whose ids are written `t7`."""
    return {name[1:]: token for name, token in tokens.items()}


def test_pieces_keep_their_place_and_rows_without_one_are_fillers(folder: Path) -> None:
    found = vocab(folder)
    assert found.texts == [*(text for text, _, _ in PIECES), "[PAD7]", "[PAD8]"]
    assert found.scores == [0, 0, 0, 0, -1, -2, -3.5, -10_000, -10_000]
    # llama.cpp takes a user-defined piece of SentencePiece for a normal one
    assert found.types == [UNKNOWN, CONTROL, CONTROL, BYTE, NORMAL, NORMAL, NORMAL, UNUSED, UNUSED]


def test_added_tokens_are_user_defined_until_the_decoder_makes_them_special(folder: Path) -> None:
    with_json(folder, "added_tokens.json", **{IM_END: 7, "<tool>": 8})
    assert vocab(folder).types[7:] == [USER_DEFINED, USER_DEFINED]
    decoder = added(t7={"content": IM_END, "special": True}, t8={"content": "<tool>", "special": False})
    found = vocab(with_json(folder, "tokenizer_config.json", added_tokens_decoder=decoder))
    assert found.texts[7:] == [IM_END, "<tool>"]
    assert found.types[7:] == [CONTROL, USER_DEFINED]
    assert found.scores[7:] == [-1000, -1000]


def test_the_decoder_has_the_last_word(folder: Path) -> None:
    decoder = added(t2={"content": IM_END, "special": True})
    found = vocab(with_json(folder, "tokenizer_config.json", added_tokens_decoder=decoder))
    assert (found.texts[2], found.types[2], found.scores[2]) == (IM_END, CONTROL, -1000)


@pytest.mark.parametrize("text", ["<|im_end|>", "<pad>", "<mask>", "<|a\nb|>", "<\uff5cend\uff5c>", "[@BOS@]"])
def test_what_looks_like_a_control_token_is_one(text: str, folder: Path) -> None:
    decoder = added(t7={"content": text, "special": False})
    assert vocab(with_json(folder, "tokenizer_config.json", added_tokens_decoder=decoder)).types[7] == CONTROL


def test_a_token_marked_special_is_a_control_token_whatever_it_looks_like(folder: Path) -> None:
    decoder = added(t0={"content": "</end>", "special": True})
    found = vocab(with_json(folder, "tokenizer_config.json", added_tokens_decoder=decoder))
    assert (found.texts[0], found.types[0]) == ("</end>", CONTROL)


def test_an_added_word_is_written_with_plain_spaces(folder: Path) -> None:
    decoder = added(t7={"content": "\u2581two\u2581words", "special": False})
    found = vocab(with_json(folder, "tokenizer_config.json", added_tokens_decoder=decoder))
    assert (found.texts[7], found.types[7]) == (" two words", USER_DEFINED)


def test_tokens_beyond_the_rows_of_the_embedding_are_left_out(folder: Path) -> None:
    with_json(folder, "added_tokens.json", **{"<pad>": ROWS})
    with_json(folder, "tokenizer_config.json", added_tokens_decoder=added(t9={"content": "<x>"}), pad_token="<pad>")
    found = vocab(folder)
    assert len(found.texts) == len(found.scores) == len(found.types) == ROWS
    assert "pad" not in found.special


@pytest.mark.parametrize(
    ("config", "tokens", "generation", "special"),
    [
        ({}, {}, {}, {"bos": 1, "eos": 2}),
        ({"eos_token_id": [2, 1]}, {}, {}, {"bos": 1, "eos": 2}),
        ({"eos_token_id": 9, "bos_token_id": -1, "pad_token_id": True}, {}, {}, {}),
        ({}, {"eos_token": "b"}, {}, {"bos": 1, "eos": 5}),
        ({}, {"eos_token": {"content": "b"}, "unk_token": "<unk>"}, {}, {"bos": 1, "eos": 5, "unk": 0}),
        ({}, {"eos_token": "never seen", "pad_token": None}, {}, {"bos": 1, "eos": 2}),
        ({}, {}, {"eos_token_id": 2}, {"bos": 1, "eos": 2}),
        ({}, {}, {"eos_token_id": 5}, {"bos": 1, "eos": 2, "eot": 5}),
        ({}, {}, {"eos_token_id": [2, 4, 5]}, {"bos": 1, "eos": 2, "eot": 4}),
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


BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "id that is a fraction": ("added_tokens.json", {"<x>": 7.5}),
    "id below zero": ("added_tokens.json", {"<x>": -1}),
    "id that is a truth value": ("added_tokens.json", {"<x>": True}),
    "id that is nothing": ("added_tokens.json", {"<x>": None}),
    "id that is a word": ("tokenizer_config.json", {"added_tokens_decoder": {"seven": {"content": "x"}}}),
    "id below zero as a text": ("tokenizer_config.json", {"added_tokens_decoder": {"-1": {"content": "x"}}}),
    "id of many digits": ("tokenizer_config.json", {"added_tokens_decoder": {"9" * 5000: {"content": "x"}}}),
    "decoder that is a list": ("tokenizer_config.json", {"added_tokens_decoder": []}),
    "token without a text": ("tokenizer_config.json", {"added_tokens_decoder": {"7": {}}}),
    "token that is a number": ("tokenizer_config.json", {"added_tokens_decoder": {"7": 7}}),
    "text that is a number": ("tokenizer_config.json", {"added_tokens_decoder": {"7": {"content": 7}}}),
    "half a surrogate pair": ("tokenizer_config.json", {"added_tokens_decoder": {"7": {"content": "\ud800"}}}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "values"), BAD.values(), ids=BAD.keys())
def test_an_unusable_token_is_refused(name: str, values: dict[str, Any], folder: Path) -> None:
    with_json(folder, name, **values)
    with refused():
        vocab(folder)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {"7": {"content": "b"}}}),
        ("added_tokens.json", {"<x>": 7, "<s>": 8}),
        ("added_tokens.json", {"[PAD8]": 7}),
    ],
)
def test_no_text_belongs_to_two_tokens(name: str, values: dict[str, Any], folder: Path) -> None:
    """llama.cpp ends its whole process over a text that two tokens have."""
    with sound_or_refused():
        assert len(set(vocab(with_json(folder, name, **values)).texts)) == ROWS


@pytest.mark.parametrize(
    "name", ["added_tokens.json", "tokenizer_config.json", "generation_config.json", "tokenizer.model"]
)
def test_a_damaged_file_is_named(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"[")
    with refused(name):
        vocab(folder)


def test_a_missing_tokenizer_is_named(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    with refused("tokenizer.model"):
        vocab(folder)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12) | st.sampled_from(["<s>", "7", "\ud800", "content", "b", 1e300]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["content", "special", "7", "8", "default", "name", "template"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(["added_tokens_decoder", "eos_token", "chat_template", "add_bos_token", "eos_token_id", "<x>"])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted({name for name, _ in BAD.values()})), st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_json_gives_a_vocabulary_of_the_right_size_or_a_sentence(
    tmp_path: Path, name: str, values: dict[str, Any]
) -> None:
    for old in tmp_path.glob("*.json"):
        old.unlink()
    (tmp_path / "tokenizer.model").write_bytes(tokenizer())
    (tmp_path / name).write_text(json.dumps(values))
    with sound_or_refused():
        found = vocab(tmp_path)
        assert len(found.texts) == len(found.scores) == len(found.types) == ROWS
        assert all(0 <= number < ROWS for number in found.special.values())
    with sound_or_refused():
        assert isinstance(read_template(tmp_path), str | None)


@pytest.mark.parametrize(
    ("value", "file", "template"),
    [
        (..., None, None),
        ("in the config", None, "in the config"),
        ("in the config", "in the file", "in the config"),
        (..., "in the file", "in the file"),
        (None, "in the file", "in the file"),
        (7, "in the file", "in the file"),
        ([{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}], None, "d"),
        ([{"name": "tool", "template": "t"}, {"name": "rag", "template": "r"}], None, "t"),
        ([], "in the file", "in the file"),
        ([7, "x", {}], None, None),
        ([{"name": [], "template": "t"}], None, "t"),
    ],
)
def test_the_template_is_found_where_authors_put_it(
    value: Any, file: str | None, template: str | None, tmp_path: Path
) -> None:
    with_json(tmp_path, "tokenizer_config.json", chat_template=value)
    if file is not None:
        (tmp_path / "chat_template.jinja").write_text(file)
    assert read_template(tmp_path) == template


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_template_that_is_too_large_is_not_lost_in_silence(name: str, tmp_path: Path) -> None:
    text = "x" * ((64 << 10) + 1)
    (tmp_path / name).write_text(text if name.endswith("jinja") else json.dumps({"chat_template": text}))
    with refused("template"):
        read_template(tmp_path)
