"""The strict reader of GGUF headers: agrees with the gguf package on sound files, refuses everything else."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import gguf_bytes as g
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused

from localchat.errors import BadFile
from localchat.gguf_file import ModelFile, read_header

MEMORY_LIMIT_BYTES = 200 << 20


def read(folder: Path, data: bytes) -> ModelFile:
    """The header of these bytes."""
    path = folder / "model.gguf"
    path.write_bytes(data)
    return read_header(path)


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    model = read(tmp_path, g.gguf())
    assert model.metadata == {
        "general.architecture": "llama", "general.file_type": 7, "llama.block_count": 2,
        "tokenizer.ggml.tokens": ["a", "b"],
    }  # fmt: skip
    assert [(t.name, t.type, t.dimensions, t.offset, t.bytes) for t in model.tensors] == [
        ("norm.weight", Type.F32, (8,), 0, 32),
        ("output.weight", Type.Q8_0, (32, 2), 32, 68),
    ]
    assert (model.architecture, model.quant, model.fact("block_count"), model.fact("absent", 5)) == (
        "llama", "Q8_0", 2, 5,
    )  # fmt: skip
    assert (model.parameters, model.tensor_bytes) == (72, 100)
    assert model.file_bytes == model.data_offset + 100


@pytest.mark.parametrize(
    "data",
    [
        g.gguf((), (), b""),
        g.gguf(version=2),
        g.gguf((*g.PAIRS, g.pair("empty", g.ARRAY, g.array(g.UINT32, 0, b"")))),
        g.gguf((*g.PAIRS, g.pair("k" * 1024, g.STRING, g.text("")))),
        g.gguf(entries=[g.entry("n" * 63, [8], g.F32, 0)]),
        g.gguf(entries=[g.entry("four", [2, 2, 2, 1], g.F32, 0)]),
        g.gguf(data=g.DATA + b"something more"),
        g.gguf([g.pair(f"{number}", g.BOOL, b"\1") for number in range(65_536)]),
        g.gguf((g.pair("text", g.STRING, g.text("x" * (4 << 20))),)),
        g.gguf((*g.PAIRS, g.pair("general.alignment", g.UINT32, g.number(32)))),
        g.gguf(
            (g.pair("general.alignment", g.UINT32, g.number(64)),),
            (g.ENTRIES[0], g.entry("output.weight", [32, 2], g.Q8_0, 64)),
            bytes(132),
            alignment=64,
        ),
    ],
)
def test_what_is_allowed_is_read(data: bytes, tmp_path: Path) -> None:
    assert read(tmp_path, data).file_bytes == len(data)


def test_the_pieces_of_a_vocabulary_may_be_bytes_that_are_no_text(tmp_path: Path) -> None:
    pairs = (g.pair("tokens", g.ARRAY, g.array(g.STRING, 1, g.text(b"a\xff"))),)
    assert read(tmp_path, g.gguf(pairs, (), b"")).metadata == {"tokens": ["a\\xff"]}


def value_types(writer: gguf.GGUFWriter) -> None:
    """One value of every type there is, and arrays."""
    for kind in ("uint8", "uint16", "uint32", "uint64"):
        getattr(writer, f"add_{kind}")(f"x.{kind}", 200)
    for kind in ("int8", "int16", "int32", "int64"):
        getattr(writer, f"add_{kind}")(f"x.{kind}", -100)
    writer.add_float32("x.float32", 0.1)
    writer.add_float64("x.float64", 0.1)
    writer.add_bool("x.bool", True)
    writer.add_string("x.string", "né\n\u4e2d")
    writer.add_array("x.numbers", [1, -2, 3])
    writer.add_array("x.floats", [0.5, -0.1])
    writer.add_array("x.flags", [True, False])
    writer.add_array("x.texts", ["", "\u2581a", "b" * 1000])


def written(path: Path, alignment: int | None) -> None:
    """A file by the gguf package, with several tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    value_types(writer)
    random = np.random.default_rng(1)
    writer.add_tensor("vector", random.standard_normal(7, dtype=np.float32))
    writer.add_tensor("half", random.standard_normal((3, 5)).astype(np.float16))
    writer.add_tensor("cube", random.standard_normal((2, 3, 4), dtype=np.float32))
    raw = gguf.quants.quantize(random.standard_normal((3, 64), dtype=np.float32), Type.Q4_0)
    writer.add_tensor("quantized", raw, raw_dtype=Type.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def agree(model: ModelFile, oracle: gguf.GGUFReader) -> None:
    """Both readers see the same file."""
    fields = {key: field for key, field in oracle.fields.items() if not key.startswith("GGUF.")}
    assert list(model.metadata) == list(fields)
    for key, value in model.metadata.items():
        assert value == fields[key].contents()
    data = model.path.read_bytes()[model.data_offset :]
    assert len(model.tensors) == len(oracle.tensors)
    for mine, theirs in zip(model.tensors, oracle.tensors, strict=True):
        assert (mine.name, mine.type, list(mine.dimensions)) == (theirs.name, theirs.tensor_type, theirs.shape.tolist())
        assert data[mine.offset : mine.offset + mine.bytes] == theirs.data.tobytes()


@pytest.mark.parametrize("alignment", [None, 8, 64, 65_536])
def test_a_file_of_the_gguf_package_reads_the_same_with_both(alignment: int | None, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    written(path, alignment)
    model = read_header(path)
    agree(model, gguf.GGUFReader(path))
    assert len(model.tensors) == 4
    assert len(model.metadata) == 17 + bool(alignment)


def test_a_model_file_of_ours_reads_the_same_with_both(chatml_file: Path) -> None:
    agree(read_header(chatml_file), gguf.GGUFReader(chatml_file))


def test_a_published_model_file_is_read(smollm2_file: Path) -> None:
    model = read_header(smollm2_file)
    assert (model.architecture, model.fact("block_count"), len(model.metadata["tokenizer.ggml.tokens"])) == (
        "llama", 30, 49152,
    )  # fmt: skip
    assert 100e6 < model.parameters < 200e6


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = g.gguf()
    for length in range(len(data)):
        with refused("model.gguf is not a sound GGUF file"):
            read(tmp_path, data[:length])


@pytest.mark.parametrize("name", ["absent.gguf", "folder"])
def test_a_file_that_cannot_be_opened_is_explained(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with refused(name, "cannot be opened"):
        read_header(tmp_path / name)


TEXT_KEY = "general.name"
BAD_FILES: dict[str, bytes] = {
    "nothing": b"",
    "other magic": g.gguf(magic=b"FUGG"),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "version 0": g.gguf(version=0),
    "version 1": g.gguf(version=1),
    "version of the future": g.gguf(version=4),
    "minus one tensors": g.gguf(tensor_count=-1),
    "minus one keys": g.gguf(pair_count=-1),
    "more tensors than there are": g.gguf(tensor_count=3),
    "more keys than there are": g.gguf(pair_count=5),
    "too many tensors": g.gguf(tensor_count=65_537),
    "too many keys": g.gguf(pair_count=65_537),
    "key length minus one": g.gguf((struct.pack("<q", -1) + b"key" + g.number(4) + g.number(1),)),
    "key length of 2^62": g.gguf((struct.pack("<Q", 1 << 62) + b"key",)),
    "key too long": g.gguf((g.pair("k" * 1025, g.UINT32, g.number(1)),)),
    "empty key": g.gguf((g.pair("", g.UINT32, g.number(1)),)),
    "key with an escape": g.gguf((g.pair("a\x1b[31m", g.UINT32, g.number(1)),)),
    "key that is no text": g.gguf((g.pair(b"\xff", g.UINT32, g.number(1)),)),
    "doubled key": g.gguf((*g.PAIRS, g.PAIRS[1])),
    "value type beyond the last": g.gguf((g.pair(TEXT_KEY, 13, g.number(1)),)),
    "value longer than the file": g.gguf((g.pair(TEXT_KEY, g.STRING, struct.pack("<Q", 1 << 40)),)),
    "value too long": g.gguf((g.pair(TEXT_KEY, g.STRING, g.text("x" * ((4 << 20) + 1))),)),
    "value that is no text": g.gguf((g.pair(TEXT_KEY, g.STRING, g.text(b"\xff")),)),
    "array of 2^31 over a few bytes": g.gguf((g.pair("a", g.ARRAY, g.array(g.UINT32, 1 << 31, bytes(64))),)),
    "array longer than the file": g.gguf((g.pair("a", g.ARRAY, g.array(g.UINT64, 1 << 20, bytes(64))),)),
    "array of minus one": g.gguf((g.pair("a", g.ARRAY, g.array(g.UINT32, (1 << 64) - 1, bytes(64))),)),
    "array of an unknown type": g.gguf((g.pair("a", g.ARRAY, g.array(13, 1, bytes(64))),)),
    "array in an array": g.gguf((g.pair("a", g.ARRAY, g.array(g.ARRAY, 1, g.array(g.UINT32, 0, b""))),)),
    "5,000 arrays in each other": g.gguf((g.pair("a", g.ARRAY, g.array(g.ARRAY, 1, b"") * 5000),)),
    "alignment 13": g.gguf((g.pair("general.alignment", g.UINT32, g.number(13)),)),
    "alignment 24 that everything keeps to": g.gguf(
        (g.pair("general.alignment", g.UINT32, g.number(24)),),
        (g.ENTRIES[0], g.entry("output.weight", [32, 2], g.Q8_0, 48)), bytes(116), alignment=24,
    ),
    "65,537 keys": g.gguf([g.pair(f"{number}", g.BOOL, b"\1") for number in range(65_537)]),
    "alignment 0": g.gguf((g.pair("general.alignment", g.UINT32, g.number(0)),)),
    "alignment 2^31": g.gguf((g.pair("general.alignment", g.UINT32, g.number(1 << 31)),)),
    "alignment as an int32": g.gguf((g.pair("general.alignment", g.INT32, g.number(32)),)),
    "alignment as a text": g.gguf((g.pair("general.alignment", g.STRING, g.text("32")),)),
    "alignment as a truth value": g.gguf((g.pair("general.alignment", g.BOOL, b"\1"),)),
    "offsets of another alignment": g.gguf((g.pair("general.alignment", g.UINT32, g.number(64)),), alignment=64),
    "tensor name of 64 bytes": g.gguf(entries=[g.entry("n" * 64, [8], g.F32, 0)]),
    "tensor name with an escape": g.gguf(entries=[g.entry("a\x1b", [8], g.F32, 0)]),
    "tensor name that is no text": g.gguf(entries=[g.entry(b"\xff", [8], g.F32, 0)]),
    "doubled tensor name": g.gguf(entries=[g.ENTRIES[0], g.entry("norm.weight", [8], g.F32, 32)]),
    "no dimensions": g.gguf(entries=[g.entry("a", [], g.F32, 0)]),
    "five dimensions": g.gguf(entries=[g.entry("a", [8, 1, 1, 1, 1], g.F32, 0)]),
    "2^32 - 1 dimensions": g.gguf(entries=[g.entry("a", [8], g.F32, 0, 0xFFFFFFFF)]),
    "dimension minus one": g.gguf(entries=[g.entry("a", [8, -1], g.F32, 0)]),
    "dimension zero": g.gguf(entries=[g.entry("a", [8, 0], g.F32, 0)]),
    "elements that overflow": g.gguf(entries=[g.entry("a", [0x7FFFFFFF] * 4, g.F32, 0)]),
    "bytes that overflow": g.gguf(entries=[g.entry("a", [1 << 30, 1 << 30, 2], 27, 0)]),
    "tensor type beyond the last": g.gguf(entries=[g.entry("a", [8], 1000, 0)]),
    "tensor type that was removed": g.gguf(entries=[g.entry("a", [8], 4, 0)]),
    "row that is no multiple of the block": g.gguf(entries=[g.entry("a", [31], g.Q8_0, 0)]),
    "offset minus one": g.gguf(entries=[g.entry("a", [8], g.F32, -1)]),
    "offset that is not aligned": g.gguf(entries=[g.ENTRIES[0], g.entry("b", [8], g.F32, 33)]),
    "first offset that leaves a hole": g.gguf(entries=[g.entry("a", [8], g.F32, 32)]),
    "tensors that overlap": g.gguf(entries=[g.ENTRIES[0], g.entry("b", [8], g.F32, 0)]),
    "tensors that leave a hole": g.gguf(entries=[g.ENTRIES[0], g.entry("b", [8], g.F32, 64)]),
    "tensors in another order": g.gguf(entries=g.ENTRIES[::-1]),
    "data one byte short": g.gguf(data=g.DATA[:-1]),
    "no data": g.gguf(data=b""),
    "tensor larger than the file": g.gguf(entries=[g.entry("a", [8, 1 << 20], g.F32, 0)]),
}  # fmt: skip


@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_malformed_file_is_refused(data: bytes, tmp_path: Path) -> None:
    with refused("model.gguf is not a sound GGUF file"):
        read(tmp_path, data)


@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_a_header_cannot_eat_the_memory(kind: str, tmp_path: Path) -> None:
    """A file with holes for zeros costs its author nothing; what is read of it must stay bounded."""
    count = {"numbers": 10, "texts": 60}[kind]
    with (tmp_path / "model.gguf").open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, count))
        for index in range(count):
            value = g.array(0, 4 << 20, b"") if kind == "numbers" else struct.pack("<Q", 4 << 20)
            file.write(g.pair(f"key{index}", g.ARRAY if kind == "numbers" else g.STRING, value))
            file.seek(4 << 20, 1)
        file.truncate(file.tell())
    tracemalloc.start()
    try:
        with refused("model.gguf"):
            read_header(tmp_path / "model.gguf")
        assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [[], [7], "Q8_0", 7.5, 9999, -1, True])
def test_facts_of_any_kind_do_not_break_the_reader_of_them(value: Any) -> None:
    metadata = {"general.file_type": value, "general.architecture": value}
    model = ModelFile(Path("model.gguf"), metadata, (), 0, 0)
    assert isinstance(model.quant, str)
    assert isinstance(model.architecture, str)
    assert model.fact("block_count") is None


SOUND = g.gguf()
EDITS = st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255), st.sampled_from("=+-")), max_size=4)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS)
def test_any_change_of_bytes_gives_a_model_file_or_a_sentence(
    tmp_path: Path, edits: list[tuple[int, int, str]]
) -> None:
    data = bytearray(SOUND)
    for place, value, how in edits:
        data[place : place + (how != "+")] = b"" if how == "-" else bytes([value])
    try:
        model = read(tmp_path, bytes(data))
    except BadFile as error:
        words = str(error), error.hint
    else:
        words = model.quant, str(model.parameters)
        assert all(model.data_offset + t.offset + t.bytes <= len(data) for t in model.tensors)
    assert all(words)
