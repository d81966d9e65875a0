"""`tokenizer.model`, read from its protobuf: sound ones piece by piece, damaged ones refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import PIECES, message, piece, refused, sound_or_refused, tokenizer, varint

from localchat.convert.tokenizer.rows import NORMAL, USER_DEFINED, Piece
from localchat.convert.tokenizer.sentencepiece import read_sentencepiece

BPE = message(2, b"\x18\x02")


def read(folder: Path, data: bytes) -> list[Piece]:
    """The vocabulary of these bytes."""
    path = folder / "tokenizer.model"
    path.write_bytes(data)
    return list(read_sentencepiece(path).pieces.values())


def test_pieces_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    # llama.cpp takes a user-defined piece of SentencePiece for a normal one
    kinds = [NORMAL if kind == USER_DEFINED else kind for _, _, kind in PIECES]
    assert read(tmp_path, tokenizer()) == [
        Piece(text, score, kind) for (text, score, _), kind in zip(PIECES, kinds, strict=True)
    ]


def test_a_published_tokenizer_is_read(chatml: Path) -> None:
    pieces = list(read_sentencepiece(chatml / "tokenizer.model").pieces.values())
    assert len(pieces) == 1024
    assert [entry.text for entry in pieces[:4]] == ["<unk>", "<s>", "</s>", "<0x00>"]
    assert [entry.type for entry in pieces[:4]] == [2, 3, 3, 6]
    assert [entry.text for entry in pieces[3:259]] == [f"<0x{byte:02X}>" for byte in range(256)]
    scores = [entry.score for entry in pieces[259:]]
    assert scores == sorted(scores, reverse=True)


def test_what_a_piece_leaves_out_has_its_default(tmp_path: Path) -> None:
    assert read(tmp_path, message(1, message(1, b"a")) + BPE) == [Piece("a", 0.0, 1)]


def test_fields_that_are_not_known_are_skipped(tmp_path: Path) -> None:
    # and so are those whose number is known but not their kind
    unknown = (
        varint(15 << 3) + varint(300)
        + varint(16 << 3 | 1) + bytes(8)
        + message(17, b"anything")
        + varint(2000 << 3 | 5) + bytes(4)
    )  # fmt: skip
    known = b"\x08\x05\x10\x05" + message(3, b"x")
    whole = message(1, message(1, b"a") + unknown + known) + message(2, unknown + b"\x18\x02" + unknown)
    assert read(tmp_path, unknown + b"\x08\x05\x10\x05" + whole + unknown) == [Piece("a", 0.0, 1)]


@pytest.mark.parametrize(
    ("normalizer", "prefix"),
    [(b"", None), (message(3, b"\x18\x00"), False), (message(3, b"\x18\x01"), None), (message(3, b"\x20\x00"), None)],
)
def test_a_model_that_puts_no_space_before_a_text_says_so(
    normalizer: bytes, prefix: bool | None, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(tokenizer() + normalizer)
    assert read_sentencepiece(tmp_path / "tokenizer.model").space_prefix is prefix


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"version": "1.0"}', "JSON"),
        (b"\n  [1]", "JSON"),
        (b"IQ== 0\nIg== 1\n", "tiktoken"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 493443\n", "Git LFS"),
    ],
)
def test_another_file_by_this_name_is_called_what_it_is(data: bytes, name: str, tmp_path: Path) -> None:
    with refused("tokenizer.model", name):
        read(tmp_path, data)


@pytest.mark.parametrize("kind", [1, 3, 4, 0])
def test_a_vocabulary_of_another_kind_is_refused(kind: int, tmp_path: Path) -> None:
    with refused("BPE"):
        read(tmp_path, tokenizer(model_type=kind))


def score(data: bytes) -> bytes:
    """A vocabulary of one piece that has this as its score field."""
    return message(1, message(1, b"a") + data) + BPE


BAD_FILES: dict[str, bytes] = {
    "nothing": b"",
    "no pieces": BPE,
    "no trainer": piece("a", 0.0, 1),
    "text instead": b"not a protobuf at all, just text\n",
    "JSON instead": b'{"model": {"type": "BPE"}}',
    "a field beyond the end": varint(1 << 3 | 2) + varint(100) + b"short",
    "a field of 2^62 bytes": varint(1 << 3 | 2) + varint(1 << 62),
    "a number without end": b"\x08" + b"\xff" * 12,
    "a number cut": b"\x08\xff",
    "a float cut": b"\x0d\0\0",
    "a group": b"\x0b" + BPE,
    "an unknown wire type": b"\x0f" + BPE,
    "a piece that is no text": piece(b"\xff", 0.0, 1) + BPE,
    "a piece of surrogates": piece(b"\xed\xa0\x80", 0.0, 1) + BPE,
    "a kind of text": message(1, b"a") + message(2, message(3, b"x")),
    "a kind that is infinite": piece("a", 0.0, 1) + message(2, b"\x19" + struct.pack("<d", float("inf"))),
    "a kind that is no number": piece("a", 0.0, 1) + message(2, b"\x1d" + struct.pack("<f", float("nan"))),
    "a type that is none": piece("a", 0.0, 77) + BPE,
    "a type that is too large": piece("a", 0.0, 1 << 40) + BPE,
    "a type of 64 bits": piece("a", 0.0, (1 << 64) - 1) + BPE,
    "a score that is too large": score(b"\x11" + struct.pack("<d", 1e300)),
    "a score that is infinite": score(b"\x15" + struct.pack("<f", float("inf"))),
    "a score that is no number": score(b"\x15" + struct.pack("<f", float("nan"))),
}


@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_damaged_tokenizer_is_refused(data: bytes, tmp_path: Path) -> None:
    with refused("tokenizer.model"):
        read(tmp_path, data)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = tokenizer()
    for length in range(len(data)):
        with refused("tokenizer.model"):
            read(tmp_path, data[:length])


def test_every_cut_of_a_published_tokenizer_gives_the_whole_vocabulary_or_a_sentence(
    chatml: Path, tmp_path: Path
) -> None:
    data = (chatml / "tokenizer.model").read_bytes()
    whole = read(tmp_path, data)
    # Cuts all over the pieces, and every one in the settings that follow them, where a cut may lose nothing.
    for length in [*range(0, len(data) - 200, 997), *range(len(data) - 200, len(data))]:
        with sound_or_refused():
            assert read(tmp_path, data[:length]) == whole


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda data: tokenizer()[:40] + data + BPE))
def test_any_bytes_give_pieces_or_a_sentence(tmp_path: Path, data: bytes) -> None:
    with sound_or_refused():
        assert all(1 <= entry.type <= 6 for entry in read(tmp_path, data))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(tokenizer()) - 1), st.integers(0, 255)), max_size=3))
def test_any_change_of_bytes_gives_pieces_or_a_sentence(tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    data = bytearray(tokenizer())
    for place, value in edits:
        data[place] = value
    with sound_or_refused():
        assert all(isinstance(entry.score, float) for entry in read(tmp_path, bytes(data)))
