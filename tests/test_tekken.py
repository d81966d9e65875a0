"""`tekken.json`, Mistral's own vocabulary: bytes in the order of their ranks, and merges that follow from them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny import CONFIG, refused, with_json

from localchat.convert.config import parse_config
from localchat.convert.template import read_templates
from localchat.convert.tokenizer.tokenizer_json import TEKKEN
from localchat.convert.tokenizer.vocab import Vocab, read_vocab

NORMAL, CONTROL, UNUSED = 1, 3, 5
BYTES = [bytes([byte]) for byte in range(256)]
LONGER = [b"ab", b" a", b" ab", b"abab", "\u00e9".encode()]
SPECIAL = 24


def entry(rank: int, token: bytes) -> dict[str, Any]:
    """One token as the file writes it."""
    return {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}


def tekken(folder: Path, tokens: Sequence[bytes] = (*BYTES, *LONGER), **changes: Any) -> Path:
    """A folder with a tekken.json; `changes` are of its config where they belong there."""
    config = {
        "pattern": TEKKEN, "default_vocab_size": SPECIAL + len(tokens), "default_num_special_tokens": SPECIAL,
        "version": "v3",
    }  # fmt: skip
    inner = {key: changes.pop(key) for key in list(changes) if key in config}
    vocabulary = [entry(rank, token) for rank, token in enumerate(tokens)]
    return with_json(folder, "tekken.json", **{"config": {**config, **inner}, "vocab": vocabulary, **changes})


def vocab(folder: Path, rows: int = SPECIAL + 256 + len(LONGER) + 1) -> Vocab:
    """The vocabulary for an embedding of so many rows, of a config that names no tokens."""
    return read_vocab(
        folder,
        parse_config({**CONFIG, "vocab_size": rows, "bos_token_id": None, "eos_token_id": None}),
        read_templates(folder),
    )


def test_special_tokens_come_first_and_then_all_others_by_rank(tmp_path: Path) -> None:
    found = vocab(tekken(tmp_path))
    assert (found.model, found.pre, found.source) == ("gpt2", "tekken", "tekken.json")
    assert found.texts[:4] == ["<unk>", "<s>", "</s>", "[INST]"]
    assert found.texts[19:24] == ["[TOOL_CONTENT]", "<SPECIAL_20>", "<SPECIAL_21>", "<SPECIAL_22>", "<SPECIAL_23>"]
    assert found.texts[24 + 256 :] == ["ab", "\u0120a", "\u0120ab", "abab", "\u00c3\u00a9", "[PAD285]"]
    assert found.types == [CONTROL] * SPECIAL + [NORMAL] * (256 + len(LONGER)) + [UNUSED]
    assert found.scores[:-1] == [0.0] * (len(found.texts) - 1)
    assert found.special == {"unk": 0, "bos": 1, "eos": 2, "pad": 11}
    assert (found.adds, found.ends) == ({"bos": True, "eos": False}, (2,))


def test_bytes_are_written_as_letters_that_can_be_seen(tmp_path: Path) -> None:
    texts = vocab(tekken(tmp_path)).texts[SPECIAL : SPECIAL + 256]
    assert len(set(texts)) == 256
    assert all(text.isprintable() and not text.isspace() for text in texts)
    assert texts[ord("!") : ord("~") + 1] == [chr(code) for code in range(ord("!"), ord("~") + 1)]
    assert (texts[0], texts[10], texts[32], texts[127], texts[0xAD]) == (
        "\u0100",
        "\u010a",
        "\u0120",
        "\u0121",
        "\u0143",
    )


def test_all_ways_to_make_a_token_are_merges_in_the_order_of_ranks(tmp_path: Path) -> None:
    assert vocab(tekken(tmp_path)).merges == [
        "a b",
        "\u0120 a",
        "\u0120 ab", "\u0120a b",
        "ab ab",
        "\u00c3 \u00a9",
    ]  # fmt: skip


def test_special_tokens_that_the_file_lists_are_taken_from_it(tmp_path: Path) -> None:
    listed = [{"rank": n, "token_str": text, "is_control": True} for n, text in enumerate(["<s>", "</s>", "<unk>"])]
    found = vocab(tekken(tmp_path, special_tokens=listed))
    assert found.texts[:4] == ["<s>", "</s>", "<unk>", "<SPECIAL_3>"]
    assert found.special == {"bos": 0, "eos": 1, "unk": 2, "pad": 1}  # nothing else pads


def test_tokens_beyond_the_default_size_are_not_used(tmp_path: Path) -> None:
    found = vocab(tekken(tmp_path, default_vocab_size=SPECIAL + 256 + 1))
    assert found.texts[SPECIAL + 256 :] == ["ab", *[f"[PAD{number}]" for number in range(281, 286)]]
    assert found.merges == ["a b"]


def test_a_tokenizer_json_beside_it_is_better_since_it_has_the_added_tokens(tmp_path: Path) -> None:
    model = {"type": "BPE", "byte_fallback": True, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    assert vocab(with_json(tekken(tmp_path), "tokenizer.json", model=model)).source == "tokenizer.json"


BAD: dict[str, dict[str, Any]] = {
    "no config": {"config": None},
    "another rule": {"pattern": "."},
    "size of a text": {"default_vocab_size": "9"},
    "huge size": {"default_vocab_size": 1 << 40},
    "no special tokens": {"default_num_special_tokens": -1},
    "more special tokens than it says": {"default_num_special_tokens": 3},
    "special token without a text": {"special_tokens": [{"rank": 0}]},
    "special token twice": {"special_tokens": [{"token_str": "x"}, {"token_str": "x"}]},
    "no vocabulary": {"vocab": None},
    "tokens that are numbers": {"vocab": [7] * 300},
    "rank out of order": {"vocab": [entry(0, b"a")] * 300},
    "no base64": {"vocab": [{"rank": rank, "token_bytes": "!"} for rank in range(300)]},
    "base64 that is no text": {"vocab": [{"rank": rank, "token_bytes": rank} for rank in range(300)]},
    "other bytes first": {"tokens": [*reversed(BYTES), *LONGER]},
    "token twice": {"tokens": [*BYTES, b"ab", b"ab", b"b a", b"ba", b"bb"]},
    "token that no two make": {"tokens": [*BYTES, b"ab", b"xyz", b"ac", b"ad", b"ae"]},
    "token that is empty": {"tokens": [*BYTES, b"", b"ab", b"ac", b"ad", b"ae"]},
    "token that is very long": {"tokens": [*BYTES, b"ab", b"a" * 100_000, b"ac", b"ad", b"ae"]},
}  # fmt: skip


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_a_damaged_file_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with refused("tekken.json"):
        vocab(tekken(tmp_path, **changes))


def test_tokens_that_are_made_in_too_many_ways_are_refused(tmp_path: Path) -> None:
    runs = [letter * length for letter in (bytes([code]) for code in range(97, 117)) for length in range(2, 257)]
    tokens = [*BYTES, *runs]
    with refused("tekken.json", "merges"):
        vocab(tekken(tmp_path, tokens))


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tekken(tmp_path) / "tekken.json"
    data = path.read_bytes()
    assert json.loads(data)
    for length in range(0, len(data), 997):
        path.write_bytes(data[:length])
        with refused("tekken.json"):
            vocab(tmp_path)
