"""The vocabulary of a model file, put together from the files around tokenizer.model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import CONFIG, PIECES, checkpoint, refused, sound_or_refused, tokenizer, with_json

from localchat.convert.config import parse_config
from localchat.convert.template import read_templates
from localchat.convert.tokenizer.vocab import Vocab, read_vocab

ROWS = CONFIG["vocab_size"]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
IM_END, IM_START = "<|im_end|>", "<|im_start|>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint whose tokenizer has seven pieces and whose embedding has nine rows."""
    return checkpoint(tmp_path / "checkpoint")


def vocab(folder: Path, **config: Any) -> Vocab:
    """The vocabulary, with some values of config.json changed."""
    return read_vocab(folder, parse_config({**CONFIG, **config}), read_templates(folder))


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
    assert found.added == (2,)
    assert [note for note in found.notes if "replaced" in note] == [
        f"tokens of tokenizer.model were replaced by added ones: 2 is {IM_END!r} and was '</s>'"
    ]


@pytest.mark.parametrize(
    "text", ["<|im_end|>", "<pad>", "<mask>", "<2mass>", "<unused7>", "<|>", "<|a\nb|>", "<\uff5cend\uff5c>", "[@BOS@]"]
)
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
    assert any("beyond the 9 rows" in note and "9 '<x>'" in note for note in found.notes)
    assert found.added == ()


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
    ("name", "values", "text", "owner", "former"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {"7": {"content": "b"}}}, "b", 7, 5),
        ("added_tokens.json", {"<x>": 7, "<s>": 8}, "<s>", 8, 1),
        ("tokenizer_config.json", {"added_tokens_decoder": {"2": {"content": "x"}, "8": {"content": "x"}}}, "x", 8, 2),
    ],
)
def test_a_text_of_two_tokens_belongs_to_the_one_added_last(
    name: str, values: dict[str, Any], text: str, owner: int, former: int, folder: Path
) -> None:
    """llama.cpp ends its whole process over a text that two tokens have."""
    found = vocab(with_json(folder, name, **values))
    assert found.texts.index(text) == owner
    assert (found.texts[former], found.types[former]) == (f"[PAD{former}]", UNUSED)
    assert len(set(found.texts)) == ROWS
    assert any(f"{text!r} is {owner} and was {former}" in note for note in found.notes)


def test_a_token_that_is_called_like_a_filler_keeps_its_name(folder: Path) -> None:
    found = vocab(with_json(folder, "added_tokens.json", **{"[PAD8]": 7}))
    assert found.texts[7:] == ["[PAD8]", "[PAD8]_"]


def test_added_tokens_repeat_the_first_three_and_leave_a_hole(folder: Path) -> None:
    with_json(folder, "added_tokens.json", **{"<unk>": 0, "<s>": 1, "</s>": 2, IM_END: 8})
    decoder = added(
        **{f"t{n}": {"content": text, "special": True} for n, text in [(0, "<unk>"), (1, "<s>"), (8, IM_END)]}
    )
    found = vocab(with_json(folder, "tokenizer_config.json", added_tokens_decoder=decoder))
    assert found.texts == [*(text for text, _, _ in PIECES), "[PAD7]", IM_END]
    assert found.types[:3] == [CONTROL, CONTROL, USER_DEFINED]  # as llama.cpp's converter has it
    assert found.added == (0, 1, 2, 8)
    assert found.notes == ()


def test_tokens_that_only_the_json_beside_the_model_has_fill_empty_rows(folder: Path) -> None:
    tokens = [
        {"id": 7, "content": IM_END, "special": True},
        {"id": 5, "content": "another b", "special": False},  # tokenizer.model has the word on its own pieces
        {"id": 8, "content": "<s>", "special": True},
    ]
    found = vocab(with_json(folder, "tokenizer.json", added_tokens=tokens))
    assert found.source == "tokenizer.model"
    assert found.texts == [*(text for text, _, _ in PIECES), IM_END, "[PAD8]"]
    assert found.types[7] == CONTROL
    assert any("tokenizer.json only" in note for note in found.notes)


def test_the_highest_version_of_mistrals_own_uploads_counts(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    for name, text in [("v2", "two"), ("v11", "eleven"), ("v11m1", "images"), ("v3", "three"), ("vx", "none")]:
        (folder / f"tokenizer.model.{name}").write_bytes(tokenizer([("<unk>", 0.0, 2), (text, -1.0, 1)]))
    found = vocab(folder)
    assert (found.source, found.texts[1]) == ("tokenizer.model.v11m1", "images")


def test_control_tokens_inside_a_model_stay_control_tokens(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    pieces = [*PIECES[:3], ("[INST]", 0.0, 3), ("[/INST]", 0.0, 3), *PIECES[3:]]
    (folder / "tokenizer.model.v3").write_bytes(tokenizer(pieces))
    found = vocab(folder, bos_token_id=None, eos_token_id=None)
    assert found.types[:5] == [UNKNOWN, CONTROL, CONTROL, CONTROL, CONTROL]
    assert found.special == {"bos": 1, "eos": 2}  # SentencePiece's own names, where no other file says anything


def test_a_tokenizer_model_that_is_none_gives_way_to_the_json(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    with refused("tiktoken"):
        vocab(folder)
    model = {"type": "BPE", "byte_fallback": True, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    assert vocab(with_json(folder, "tokenizer.json", model=model)).source == "tokenizer.json"


def test_more_rows_than_any_vocabulary_are_refused_before_they_are_made(folder: Path) -> None:
    with refused("16,777,216"):
        vocab(folder, vocab_size=1 << 24)


def test_ids_far_beyond_the_vocabulary_are_left_out(folder: Path) -> None:
    with_json(folder, "added_tokens.json", **{"<x>": 10**4000, "<y>": 1 << 21})
    assert vocab(folder).texts[7:] == ["[PAD7]", "[PAD8]"]


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json"])
def test_a_file_of_millions_of_values_is_refused_unread(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b'{"x": [' + b"{}," * 1_000_001 + b"{}]}")
    with refused(name, "values"):
        vocab(folder)


@pytest.mark.parametrize(
    "name",
    [
        "added_tokens.json",
        "tokenizer_config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
    ],
)
def test_a_damaged_file_is_named(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"[")
    with refused(name):
        vocab(folder)


def test_a_missing_tokenizer_is_named(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    with refused("tokenizer.model", "tokenizer.json", "tekken.json"):
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
        assert isinstance(read_templates(tmp_path).default, str | None)
