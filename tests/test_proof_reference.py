"""The tokenizers of checkpoints, asked in a process of their own: what they answer and what may go wrong with them."""

from __future__ import annotations

import base64
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from proving import opened, with_token, written
from tiny import copied, refused
from tiny_checkpoint import sentencepiece

from localchat.child import ChildDied, ask
from localchat.convert.proof.reference import ask_reference
from localchat.convert.proof.strings import digest
from localchat.convert.proof.tokens import said_of_added
from localchat.convert.tokenizer.rows import NORMAL, UNUSED
from localchat.convert.tokenizer.tokenizer_files import read_tokenizer_files
from localchat.convert.tokenizer.tokenizer_json import TEKKEN
from localchat.llama.vocabulary import ask_vocabulary

BYTE = 3  # of tiny_checkpoint's SentencePiece model: the id of <0x00>


def tekken(path: Path, words: list[str], special: int = 4) -> Path:
    """A tekken.json whose tokens are all bytes, then these words in the order of their ranks."""
    tokens = [*(bytes([byte]) for byte in range(256)), *(word.encode() for word in words)]
    vocab = [{"rank": rank, "token_bytes": base64.b64encode(token).decode()} for rank, token in enumerate(tokens)]
    config = {"pattern": TEKKEN, "default_num_special_tokens": special, "default_vocab_size": special + len(tokens)}
    path.write_text(json.dumps({"config": config, "vocab": vocab}))
    return path


def fast(path: Path, vocabulary: list[str], merges: list[list[str]], **changes: Any) -> Path:
    """A tokenizer.json of a few pieces."""
    model = {"type": "BPE", "vocab": {text: number for number, text in enumerate(vocabulary)}, "merges": merges}
    path.write_text(
        json.dumps({"version": "1.0", "model": model, "normalizer": None, "pre_tokenizer": None, **changes})
    )
    return path


def plain(path: Path, *texts: str, prefix: bool | None = None) -> list[list[int]]:
    return [list(ids) for ids in ask_reference(path, texts, {}, {}, prefix).plain]


def test_tekken_joins_what_has_the_best_rank_first(tmp_path: Path) -> None:
    path = tekken(tmp_path / "tekken.json", ["bc", "ab", "abc", " a"])
    (ids,) = plain(path, "abcab a\u00e9")
    bc_then_abc, ab, space_a = 4 + 258, 4 + 257, 4 + 259
    assert ids == [bc_then_abc, ab, space_a, 4 + 0xC3, 4 + 0xA9]


def test_tekken_excuses_combining_marks_of_which_llama_cpp_has_no_rule(tmp_path: Path) -> None:
    path = tekken(tmp_path / "tekken.json", [])
    assert ask_reference(path, ["cafe\u0301", "caf\u00e9"], {}, {}, None).is_excused == [True, False]


def test_special_tokens_are_cut_out_of_a_text_and_a_space_put_before_what_follows(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece(300))
    found = ask_reference(tmp_path / "tokenizer.model", ["a<x>b<y>"], {"<y>": 9}, {"<x>": 8, "<y>": 9}, None)
    space = [byte + BYTE for byte in "\u2581".encode()]
    inside = [byte + BYTE for byte in b"<x>"]
    assert found.plain == [[*space, BYTE + ord("a"), *inside, BYTE + ord("b"), 9]]
    assert found.special == [[*space, BYTE + ord("a"), 8, *space, BYTE + ord("b"), 9]]


def test_the_space_before_a_text_is_as_tokenizer_config_says(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(sentencepiece(300))
    assert plain(path, "a", prefix=False) == [[BYTE + ord("a")]]
    assert plain(path, "a", prefix=True) == plain(path, "a")


def test_text_that_is_normalized_is_excused(tmp_path: Path) -> None:
    path = fast(tmp_path / "tokenizer.json", ["a", "b", "ab"], [["a", "b"]], normalizer={"type": "Lowercase"})
    found = ask_reference(path, ["AB", "ab"], {}, {}, None)
    assert (found.plain, found.is_excused) == ([[2], [2]], [True, False])


def test_spaces_that_sentencepiece_takes_away_are_excused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(sentencepiece(300))  # without a normalizer of its own, which takes spaces away
    found = ask_reference(path, [" a", "a  b", "a b"], {}, {}, None)
    assert found.is_excused == [True, True, False]


def test_metaspace_excuses_a_text_that_begins_with_a_space(tmp_path: Path) -> None:
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    path = fast(tmp_path / "tokenizer.json", ["\u2581", "a"], [], pre_tokenizer=metaspace)
    found = ask_reference(path, [" a", "a"], {}, {}, None)
    assert (found.plain, found.is_excused) == ([[0, 1], [0, 1]], [True, False])


def test_added_tokens_truncation_and_padding_of_a_file_change_nothing(tmp_path: Path) -> None:
    added = {"id": 1, "content": "ab", "single_word": False, "lstrip": True, "rstrip": True, "normalized": False,
             "special": True}  # fmt: skip
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    path = fast(tmp_path / "tokenizer.json", ["a", "b"], [], added_tokens=[added], truncation=truncation)
    assert plain(path, "abab") == [[0, 1, 0, 1]]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tokenizer.model", b""),
        ("tokenizer.model", b"\xff" * 100),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b'{"model": {"type": "Unigram", "vocab": 5}}'),
        ("tokenizer.json", b"[" * 100_000),
        ("tekken.json", b"{}"),
        ("tekken.json", b'{"config": {"pattern": "(", "default_num_special_tokens": 0}, "vocab": []}'),
    ],
)  # fmt: skip
def test_a_damaged_tokenizer_is_a_sentence(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with refused():
        plain(tmp_path / name, "text")


def test_a_pattern_that_takes_for_ever_is_a_sentence(tmp_path: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    path = fast(tmp_path / "tokenizer.json", ["a", "b"], [], pre_tokenizer=split)
    with refused():
        plain(path, "a" * 40 + "b")


def said(folder: Path, **changes: Any) -> dict[str, frozenset[int]]:
    return dict(said_of_added(read_tokenizer_files(folder), replace(opened(folder).vocab, **changes)))


def test_added_tokens_are_those_of_all_files(chatml: Path) -> None:
    whole = {"<unk>": {0}, "<s>": {1}, "</s>": {2}, "<|im_end|>": {1024}, "<|im_start|>": {1025}}
    assert said(chatml) == whole
    assert said(chatml, texts=opened(chatml).vocab.texts[:1025]).keys() == whole.keys() - {"<|im_start|>"}
    assert said(chatml, source="tekken.json") == {}


def test_a_token_that_was_typed_with_a_space_is_found_as_such(chatml: Path, tmp_path: Path) -> None:
    folder = copied(chatml, tmp_path / "folder")
    (folder / "added_tokens.json").write_text(json.dumps({"a\u2581b": 1025}))
    assert opened(folder).vocab.texts[1025] == "<|im_start|>"  # tokenizer_config.json comes later
    texts = [*opened(chatml).vocab.texts[:1025], "a b"]
    assert said(folder, texts=texts)["a b"] == {1025}


def test_a_file_that_only_fills_gaps_has_no_say_about_rows_that_are_taken(chatml: Path, tmp_path: Path) -> None:
    folder = copied(chatml, tmp_path / "folder")
    listed = [
        {"id": 300, "content": "<odd>", "special": True},
        {"id": 1025, "content": "<|im_start|>", "special": True},
    ]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": listed}))
    assert said(folder).keys() == said(chatml).keys()
    types = [UNUSED if id == 300 else kind for id, kind in enumerate(opened(folder).vocab.types)]
    assert said(folder, types=types)["<odd>"] == {300}


# llama.cpp


def test_llama_cpp_that_crashes_over_a_vocabulary_is_a_sentence(chatml: Path, tmp_path: Path) -> None:
    made = opened(chatml)
    lost = made.vocab.texts.index("<0xE2>")
    path = written(with_token(made, lost, "[lost]", NORMAL), tmp_path / "m.gguf")
    assert ask_vocabulary(path, ["plain"], []).plain
    with refused("llama.cpp", "crashed (SIGABRT)"):
        ask_vocabulary(path, ["\u2713"], [])


@pytest.mark.parametrize("data", [b"", b"GGUF", b"x" * 1000])
def test_a_file_that_llama_cpp_cannot_read_is_a_sentence(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(data)
    with refused("llama.cpp could not load m.gguf"):
        ask_vocabulary(tmp_path / "m.gguf", ["a"], [])


# The process itself

CHILD = """
import sys, time
from localchat.child import Limits, answer
from localchat.errors import LocalchatError

def reply(question):
    print("noise on standard output", flush=True)
    if question["do"] == "refuse":
        raise LocalchatError("no", "another time")
    if question["do"] == "fail":
        raise ValueError("broken in\\nthe middle")
    if question["do"] == "sleep":
        time.sleep(60)
    if question["do"] == "work":
        while True:
            pass
    if question["do"] == "grow":
        return {"size": len(bytearray(1 << 30))}
    if question["do"] == "silent":
        sys.exit(0)
    return {"said": question["do"]}

answer(reply, Limits(memory_bytes=512 << 20, cpu_seconds=1))
"""


@pytest.fixture
def child(tmp_path: Path) -> dict[str, str]:
    """The environment in which the module `a_child` is found."""
    (tmp_path / "a_child.py").write_text(CHILD)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path), str(Path.cwd())])}


def test_a_child_answers_whatever_else_it_prints(child: dict[str, str]) -> None:
    assert ask("a_child", {"do": "h\u00e9llo"}, 30, child) == {"said": "h\u00e9llo"}


def test_what_a_child_refuses_the_parent_refuses(child: dict[str, str]) -> None:
    with refused("no"):
        ask("a_child", {"do": "refuse"}, 30, child)


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits that only Linux keeps")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("fail", "the middle"),
        ("silent", "answered nothing"),
        pytest.param("work", "took too long", marks=LINUX),
        pytest.param("grow", "MemoryError", marks=LINUX),
    ],
)
def test_a_child_that_dies_is_a_sentence(what: str, words: str, child: dict[str, str]) -> None:
    with pytest.raises(ChildDied, match=words) as caught:
        ask("a_child", {"do": what}, 30, child)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_child_that_sleeps_is_not_waited_for(child: dict[str, str]) -> None:
    with pytest.raises(ChildDied, match="longer than 1 seconds"):
        ask("a_child", {"do": "sleep"}, 1, child)


def test_ids_that_differ_have_another_digest() -> None:
    assert digest([[1, 2]], [[3]]) == digest([(1, 2)], [(3,)])
    assert digest([[1, 2]], [[3]]) != digest([[1], [2]], [[3]])
