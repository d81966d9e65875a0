"""Vocabularies that have no tokenizer.model: tokenizer.json with byte fallback or byte-level, and the refused kinds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import CONFIG, refused, sound_or_refused, with_json

from localchat.convert.config import parse_config
from localchat.convert.template import read_templates
from localchat.convert.tokenizer import tokenizer_json
from localchat.convert.tokenizer.tokenizer_json import TEKKEN, WORDS_AND_NUMBERS
from localchat.convert.tokenizer.vocab import Vocab, read_vocab

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"
PREPEND = {"type": "Prepend", "prepend": SPACE}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
WORDS = ["<unk>", "<s>", "</s>", "<0x0A>", SPACE, "a", "b", "c", "ab", f"{SPACE}ab", "bc", "abc"]
MERGES = ["a b", f"{SPACE} ab", "b c", "a bc", "ab c"]
ADDED = [
    {"id": 0, "content": "<unk>", "special": True},
    {"id": 1, "content": "<s>", "special": True},
    {"id": 12, "content": "<|im_end|>", "special": True},
    {"id": 14, "content": f"<tool>{SPACE}x", "special": False},
]


def fast(folder: Path, **changes: Any) -> Path:
    """A folder with a tokenizer.json of byte fallback; `changes` are of its model where they belong there."""
    model = {
        "type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "merges": MERGES,
        "vocab": {text: number for number, text in enumerate(WORDS)},
    }  # fmt: skip
    inner = {key: changes.pop(key) for key in list(changes) if key in (*model, "end_of_word_suffix")}
    outer = {"normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]}, "added_tokens": ADDED, **changes}
    whole = {key: value for key, value in {**model, **inner}.items() if value is not ...}
    return with_json(folder, "tokenizer.json", **outer, model=whole)


def split(regex: str, *, words: bool = False) -> dict[str, Any]:
    """The pre-tokenizer of a byte-level vocabulary."""
    parts = [{"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"}] if regex else []
    return {"type": "Sequence", "pretokenizers": [*parts, {"type": "ByteLevel", "use_regex": words}]}


def level(folder: Path, **changes: Any) -> Path:
    """A folder with a byte-level tokenizer.json."""
    words = {text: number for number, text in enumerate(["\u0120", "a", "b", "ab", "\u0120ab"])}
    added = [{"id": 5, "content": "<|eot_id|>", "special": True}, {"id": 6, "content": "<tool>", "special": False}]
    standard = {
        "byte_fallback": False, "unk_token": None, "vocab": words, "merges": ["a b", "\u0120 ab"], "normalizer": None,
        "added_tokens": added, "pre_tokenizer": split(TEKKEN),
    }  # fmt: skip
    return fast(folder, **{**standard, **changes})


def vocab(folder: Path, rows: int = 16) -> Vocab:
    """The vocabulary for an embedding of so many rows."""
    return read_vocab(folder, parse_config({**CONFIG, "vocab_size": rows}), read_templates(folder))


def test_the_score_of_a_piece_is_minus_the_rank_of_the_first_merge_that_makes_it(tmp_path: Path) -> None:
    found = vocab(fast(tmp_path))
    assert (found.model, found.pre, found.merges, found.source) == ("llama", "default", [], "tokenizer.json")
    assert found.texts[:12] == WORDS
    assert found.scores[3:12] == [0, -5, -5, -5, -5, 0, -1, -2, -3]  # what no merge makes comes after all merges


def test_types_follow_from_added_tokens_and_the_form_of_bytes(tmp_path: Path) -> None:
    found = vocab(fast(tmp_path))
    assert found.types == [CONTROL, CONTROL, NORMAL, BYTE, *[NORMAL] * 8, CONTROL, UNUSED, USER_DEFINED, UNUSED]
    assert found.texts[12:] == ["<|im_end|>", "[PAD13]", "<tool> x", "[PAD15]"]
    assert found.scores[12:] == [-1000, -10_000, -1000, -10_000]
    assert found.added == (0, 1, 12, 14)


def test_the_unknown_token_is_known_without_added_tokens(tmp_path: Path) -> None:
    found = vocab(fast(tmp_path, added_tokens=None))
    assert found.types[:2] == [UNKNOWN, NORMAL]
    assert found.special["unk"] == 0


def test_merges_are_read_in_both_ways_of_writing_them(tmp_path: Path) -> None:
    pairs = [merge.split(" ") for merge in MERGES]
    old, new = vocab(fast(tmp_path)), vocab(fast(tmp_path, merges=pairs))
    assert old == new
    assert vocab(fast(tmp_path, merges=["#version: 0.2", *MERGES])) == old


def test_the_config_of_the_tokenizer_has_the_last_word_on_added_tokens(tmp_path: Path) -> None:
    decoder = {"2": {"content": "<|im_end|>", "special": True}, "12": {"content": "<|im_start|>", "special": True}}
    found = vocab(with_json(fast(tmp_path), "tokenizer_config.json", added_tokens_decoder=decoder))
    assert (found.texts[2], found.texts[12]) == ("<|im_end|>", "<|im_start|>")


def test_added_tokens_json_fills_only_rows_that_are_empty(tmp_path: Path) -> None:
    found = vocab(with_json(fast(tmp_path), "added_tokens.json", **{"other": 5, "<|x|>": 13, "<s>": 15}))
    assert (found.texts[5], found.texts[13], found.texts[15]) == ("a", "<|x|>", "[PAD15]")
    assert found.types[13] == CONTROL
    assert any("added_tokens.json only" in note for note in found.notes)


@pytest.mark.parametrize(
    ("normalizer", "splitter", "prefix"),
    [
        ({"type": "Sequence", "normalizers": [PREPEND, REPLACE]}, None, None),
        (None, {"type": "Metaspace", "prepend_scheme": "always"}, None),
        (None, {"type": "Metaspace", "prepend_scheme": "first"}, None),
        (None, {"type": "Metaspace", "prepend_scheme": "never"}, False),
        (None, {"type": "Metaspace", "add_prefix_space": True}, None),
        (None, {"type": "Metaspace", "add_prefix_space": False}, False),
        (REPLACE, None, False),
    ],
)
def test_whether_a_text_begins_with_a_space_is_carried_over(
    normalizer: Any, splitter: Any, prefix: bool | None, tmp_path: Path
) -> None:
    found = vocab(fast(tmp_path, normalizer=normalizer, pre_tokenizer=splitter))
    assert (found.space_prefix, found.notes) == (prefix, ())
    assert vocab(with_json(tmp_path, "tokenizer_config.json", add_prefix_space=True)).space_prefix is True


def test_a_change_of_text_that_llama_cpp_does_not_make_is_named_in_a_note(tmp_path: Path) -> None:
    found = vocab(fast(tmp_path, normalizer={"type": "NFKC"}))
    assert any("NFKC" in note for note in found.notes)


def test_a_byte_level_vocabulary_has_merges_and_no_scores(tmp_path: Path) -> None:
    found = vocab(level(tmp_path), rows=9)
    assert (found.model, found.pre, found.scores) == ("gpt2", "tekken", [])
    assert found.merges == ["a b", "\u0120 ab"]
    assert found.texts == ["\u0120", "a", "b", "ab", "\u0120ab", "<|eot_id|>", "<tool>", "[PAD7]", "[PAD8]"]
    assert found.types == [NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, CONTROL, USER_DEFINED, UNUSED, UNUSED]


def test_a_space_inside_a_byte_level_piece_is_written_as_the_pieces_write_it(tmp_path: Path) -> None:
    words = {"a": 0, " b": 1, "a b": 2}
    assert vocab(level(tmp_path, vocab=words, merges=[["a", " b"]], added_tokens=[])).merges == ["a \u0120b"]


@pytest.mark.parametrize(
    ("splitter", "pre"),
    [
        (split(TEKKEN), "tekken"),
        (split(WORDS_AND_NUMBERS % "{1,3}"), "llama-bpe"),
        (split(WORDS_AND_NUMBERS % ""), "qwen2"),
        ({"type": "ByteLevel", "add_prefix_space": False}, "gpt-2"),
        (
            {
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}],
            },
            "smollm",
        ),
    ],
)
def test_the_rule_that_splits_text_is_known_by_its_form(splitter: Any, pre: str, tmp_path: Path) -> None:
    assert vocab(level(tmp_path, pre_tokenizer=splitter)).pre == pre


@pytest.mark.parametrize(
    "splitter",
    [
        None,
        {},
        split("a|b"),
        split(TEKKEN, words=True),
        {"type": "Whitespace"},
        {"type": "Sequence", "pretokenizers": 7},
    ],
)
def test_a_rule_that_is_not_known_is_refused(splitter: Any, tmp_path: Path) -> None:
    with refused("tokenizer.json", "rule"):
        vocab(level(tmp_path, pre_tokenizer=splitter))


BAD: dict[str, tuple[dict[str, Any], Sequence[str]]] = {
    "unigram": ({"type": "Unigram", "vocab": [["a", -1.0]]}, ["Unigram"]),
    "word pieces": ({"type": "WordPiece"}, ["WordPiece"]),
    "no type and no merges": ({"type": ..., "merges": ...}, ["unnamed"]),
    "type that is a list": ({"type": []}, []),
    "marked ends of words": ({"end_of_word_suffix": "</w>"}, ["ends of words"]),
    "no vocabulary": ({"vocab": {}}, []),
    "vocabulary that is a list": ({"vocab": []}, ["vocab"]),
    "id of a truth value": ({"vocab": {"a": True}}, []),
    "id below zero": ({"vocab": {"a": -1}}, []),
    "id that is a text": ({"vocab": {"a": "1"}}, []),
    "one id for two": ({"vocab": {"a": 1, "b": 1}}, ["one id"]),
    "no merges": ({"merges": []}, ["no merges"]),
    "merges that are an object": ({"merges": {}}, ["no merges"]),
    "merge of nothing known": ({"merges": ["a z"]}, ["'z'"]),
    "merge into nothing known": ({"merges": ["c a"]}, ["'c'"]),
    "merge of three": ({"merges": ["a b c"]}, ["pair"]),
    "merge of numbers": ({"merges": [[1, 2]]}, ["pair"]),
    "merge of a list": ({"merges": [[["a"], "b"]]}, ["pair"]),
    "piece of half a surrogate": ({"vocab": {"a": 0, "b": 1, "ab": 2, "\ud800": 3}, "merges": ["a b"]}, ["no text"]),
    "model that is a list": ({"model": []}, ["model"]),
    "added tokens that are an object": ({"added_tokens": {}}, ["added_tokens"]),
    "added token without an id": ({"added_tokens": [{"content": "x"}]}, ["id"]),
    "added token without a text": ({"added_tokens": [{"id": 1}]}, ["text"]),
    "added token that is a text": ({"added_tokens": ["x"]}, ["id"]),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD.keys())
def test_a_vocabulary_that_cannot_be_used_is_refused(
    changes: dict[str, Any], words: Sequence[str], tmp_path: Path
) -> None:
    model = changes.pop("model", None) if "model" in changes else None
    folder = fast(tmp_path, **changes)
    with refused(*words):
        vocab(folder if model is None else with_json(folder, "tokenizer.json", model=model))


def test_more_tokens_than_any_vocabulary_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_json, "ROWS_LIMIT", len(WORDS))
    assert vocab(fast(tmp_path)).texts[11] == "abc"
    monkeypatch.setattr(tokenizer_json, "ROWS_LIMIT", len(WORDS) - 1)
    with refused("tokenizer.json", "more tokens"):
        vocab(tmp_path)


@pytest.mark.parametrize("texts", [("", "[EMPTY_3]"), ("a\0x", "a\0y"), ("a\0", "c")])
def test_tokens_that_are_one_to_llama_cpp_are_refused(texts: tuple[str, str], tmp_path: Path) -> None:
    """It reads a text up to a zero byte and gives an empty one a name; two of one text end its process."""
    words = {"a": 0, "b": 1, "ab": 2, texts[0]: 3, texts[1]: 4}
    with refused("llama.cpp"):
        vocab(fast(tmp_path, vocab=words, merges=["a b"], added_tokens=[]))


def test_the_type_may_be_absent_where_there_are_merges(tmp_path: Path) -> None:
    assert vocab(fast(tmp_path, type=...)).model == "llama"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 20) | st.sampled_from(["a", "a b", "BPE", "Sequence", "ByteLevel"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "vocab", "merges", "a", "b", "ab", "id", "content", "pretokenizers", "pattern"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
KEYS = st.sampled_from(
    [
        "type",
        "vocab",
        "merges",
        "unk_token",
        "byte_fallback",
        "normalizer",
        "pre_tokenizer",
        "added_tokens",
        "post_processor",
    ]
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_json_gives_a_vocabulary_of_the_right_size_or_a_sentence(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = fast(tmp_path, **changes)
    with sound_or_refused():
        found = vocab(folder)
        assert len(found.texts) == len(found.types) == 16
        assert len(set(found.texts)) == 16
        assert all(0 <= number < 16 for number in (*found.special.values(), *found.ends, *found.added))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = fast(tmp_path) / "tokenizer.json"
    data = path.read_bytes()
    assert json.loads(data)
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with refused("tokenizer.json"):
            vocab(tmp_path)
