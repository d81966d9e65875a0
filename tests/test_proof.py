"""A converted model is proved right before it may be used, and one that came out wrong is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from proving import opened, proved, rows_of, with_token, with_vocab, written
from tiny import copied, refused, with_json

from localchat.convert.checkpoint import Checkpoint
from localchat.convert.proof.strings import STRINGS
from localchat.convert.proof.tokens import ask_about, check_tokens, words_of
from localchat.convert.proof.turns import check_stop, check_template
from localchat.convert.template import Templates
from localchat.convert.tokenizer.rows import CONTROL, NORMAL, UNUSED
from localchat.gguf_file import read_header

END, START = 1024, 1025  # <|im_end|> and <|im_start|> of the ChatML checkpoint
PLAIN_TALK = (
    "{% for m in messages %}{% if m.role == 'user' %}### User:\n{{ m.content }}\n{% else %}### Bot:\n{{ m.content }}\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}### Bot:\n{% endif %}"
)


@pytest.fixture(scope="module")
def checkpoint(chatml: Path) -> Checkpoint:
    return opened(chatml)


def test_a_model_that_came_out_right_passes_every_check(checkpoint: Checkpoint, chatml_file: Path) -> None:
    proof = proved(checkpoint, chatml_file)
    assert {check.name: check.verdict for check in proof.checks} == dict.fromkeys(
        ("header", "vocabulary", "bytes", "added tokens", "tokens", "template", "stop", "finite", "rows"), "passed"
    )
    details = {check.name: check.detail for check in proof.checks}
    assert f"{len(STRINGS) + 25} strings give the same ids as tokenizer.model" in details["tokens"]
    assert "<|im_end|>" in details["stop"]
    assert proof.stops == proof.notes == ()
    assert proof.fingerprints.keys() == {"strings", "token_ids", "template"}


def test_two_pieces_that_changed_places_are_noticed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    texts = list(checkpoint.vocab.texts)
    word, other = texts.index("\u2581the"), texts.index("ing")
    texts[word], texts[other] = texts[other], texts[word]
    path = written(with_vocab(checkpoint, texts=texts), tmp_path / "m.gguf")
    with refused("the tokenizer did not come over"):
        proved(checkpoint, path)


def test_a_lost_space_before_a_text_is_noticed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = written(with_vocab(checkpoint, space_prefix=False), tmp_path / "m.gguf")
    with refused("the tokenizer did not come over"):
        proved(checkpoint, path)


@pytest.mark.parametrize(("text", "kind"), [("[PAD1025]", UNUSED), ("<|im_begin|>", CONTROL), ("<|im_start|>", NORMAL)])
def test_an_added_token_that_is_lost_misspelled_or_ordinary_is_noticed(
    checkpoint: Checkpoint, text: str, kind: int, tmp_path: Path
) -> None:
    path = written(with_token(checkpoint, START, text, kind), tmp_path / "m.gguf")
    with refused("the added token '<|im_start|>' is not one token"):
        proved(checkpoint, path)


def test_a_vocabulary_of_another_size_than_the_embedding_is_noticed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    vocab = checkpoint.vocab
    short = with_vocab(checkpoint, texts=vocab.texts[:-1], scores=vocab.scores[:-1], types=vocab.types[:-1])
    with refused("1,025 tokens for 1,026 rows"):
        proved(checkpoint, written(short, tmp_path / "m.gguf"))


def test_a_byte_without_a_token_is_refused_before_llama_cpp_crashes_over_it(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    lost = checkpoint.vocab.texts.index("<0xE2>")
    path = written(with_token(checkpoint, lost, "[lost]", NORMAL), tmp_path / "m.gguf")
    with refused("no token for the bytes <0xE2>"):
        proved(checkpoint, path)


def test_a_tokenizer_that_its_library_cannot_read_is_a_note(chatml_file: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x03none")
    model = read_header(chatml_file)
    check = check_tokens(model, ask_about(model, {}), {}, tmp_path / "tokenizer.model", None)
    assert (check.verdict, "not compared" in check.detail) == ("noted", True)


# Rows


def test_rows_of_queries_that_changed_places_are_noticed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = written(checkpoint, tmp_path / "m.gguf", "Q4_K_M")
    rows = rows_of(path, "blk.1.attn_q.weight")
    rows[[0, 1]] = rows[[1, 0]]
    with refused("row 0 of blk.1.attn_q.weight"):
        proved(checkpoint, path, "Q4_K_M")


def test_a_scale_that_is_no_number_is_noticed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = written(checkpoint, tmp_path / "m.gguf")
    rows_of(path, "blk.0.ffn_up.weight")[0, :2] = (0x00, 0x7E)  # the half precision NaN
    with refused("blk.0.ffn_up.weight", "finite"):
        proved(checkpoint, path)


def test_a_file_of_another_type_than_planned_is_noticed(checkpoint: Checkpoint, chatml_file: Path) -> None:
    with refused("did not come out as it was planned"):
        proved(checkpoint, chatml_file, "Q6_K")


# Turns


def test_another_template_than_the_authors_is_noticed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    other = replace(checkpoint, templates=Templates(PLAIN_TALK, {}, "chat_template.jinja"))
    with refused("the chat template"):
        proved(checkpoint, written(other, tmp_path / "m.gguf"))


def test_a_named_template_that_is_lost_is_noticed(checkpoint: Checkpoint, chatml_file: Path) -> None:
    templates = replace(checkpoint.templates, named={"tool_use": "x"})
    assert check_template(read_header(chatml_file), templates, {}).is_failed


def test_a_word_for_the_end_that_the_vocabulary_has_not_is_a_note(checkpoint: Checkpoint, tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    other = replace(checkpoint, templates=Templates(template, {}, "chat_template.jinja"))
    model = read_header(written(other, tmp_path / "m.gguf"))
    check = check_template(model, other.templates, {"bos": "<s>", "eos": "<eot>"})
    assert (check.verdict, "'<eot>'" in check.detail) == ("noted", True)


@pytest.mark.parametrize(
    ("template", "stop"),
    [
        (PLAIN_TALK, "### User:"),
        ("{% for m in messages %}<{{ m.role }}>{{ m.content }}<|eot|>{% endfor %}", "<|eot|>"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}", "user:"),
    ],
)
def test_a_turn_that_ends_with_plain_text_stops_at_that_text(
    template: str, stop: str, chatml: Path, tmp_path: Path
) -> None:
    folder = with_json(copied(chatml, tmp_path / "folder"), "tokenizer_config.json", chat_template=template)
    proof = proved(opened(folder), written(opened(folder), tmp_path / "m.gguf"))
    assert proof.stops == (stop,)
    assert [check.name for check in proof.checks if check.verdict == "repaired"] == ["stop"]
    assert repr(stop) in proof.notes[0]


NO_END = (
    "", "{{ messages[0].content }}", "{% for m in messages %}{{ m.content }}\n{% endfor %}", "{{ nothing.at.all }}",
    "{% if %}",
)  # fmt: skip


@pytest.mark.parametrize("template", NO_END)
def test_a_template_that_shows_no_end_is_a_note(template: str, chatml: Path, tmp_path: Path) -> None:
    folder = with_json(copied(chatml, tmp_path / "folder"), "tokenizer_config.json", chat_template=template)
    proof = proved(opened(folder), written(opened(folder), tmp_path / "m.gguf"))
    assert {check.name: check.verdict for check in proof.checks}["stop"] == "noted"
    assert not any(check.is_failed for check in proof.checks)


def test_a_template_without_system_role_still_shows_where_a_turn_ends(chatml: Path, tmp_path: Path) -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    folder = with_json(copied(chatml, tmp_path / "folder"), "tokenizer_config.json", chat_template=template)
    proof = proved(opened(folder), written(opened(folder), tmp_path / "m.gguf"))
    assert {check.name: check.verdict for check in proof.checks}["stop"] == "passed"


def test_an_end_at_which_llama_cpp_does_not_stop_is_noticed(chatml_file: Path) -> None:
    model = read_header(chatml_file)
    answers = ask_about(model, {}).answers
    assert not check_stop(model, (END,), answers)[0].is_failed
    deaf = words_of(model).texts.index("\u2581the")
    check, stops = check_stop(model, (END, deaf), answers)
    assert (check.is_failed, stops) == (True, ())
