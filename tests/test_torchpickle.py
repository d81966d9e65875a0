"""Files that PyTorch saves, in both formats: every tensor is found where it lies, however it looks at its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import refused
from torch_bytes import (
    ARRAYS,
    FALSE,
    NONE,
    TRUE,
    Part,
    archive,
    call,
    found,
    legacy,
    mapping,
    number,
    ordered,
    parts_of,
    pickled,
    saved,
    storage,
    tensor,
    text,
    values,
    zipped,
)

from localchat.convert.torch.torchpickle import read_torch

DATA = np.arange(60, dtype=np.float32)
WHOLE = {"0": DATA.tobytes()}
BOTH = pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])


def in_format(old: bool, look: dict[str, bytes]) -> bytes:
    """A file of tensors that look at DATA."""
    return legacy(mapping(look), {"0": (60, DATA.tobytes())}) if old else zipped(mapping(look), WHOLE)


def whole(old: bool) -> bytes:
    """A reference to DATA."""
    return storage("F32", 60, "0", *((NONE,) if old else ()))


@BOTH
def test_types_may_be_mixed_in_one_file(old: bool, tmp_path: Path) -> None:
    tensors = {
        f"layer.{dtype}": (dtype, np.arange(count, 2 * count).astype(kind).reshape(-1, 2))
        for count, (dtype, kind) in zip(range(4, 24, 2), ARRAYS.items(), strict=True)
    }
    refs = found(tmp_path, saved(tensors, old))
    assert list(refs) == list(tensors)
    for name, (dtype, array) in tensors.items():
        assert (refs[name].dtype, refs[name].shape, refs[name].strides) == (dtype, array.shape, None)
        assert values(refs[name]).tobytes() == array.tobytes()


@BOTH
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((6, 10), (10, 1), 0),
        ((10, 6), (1, 10), 0),
        ((3, 4), (20, 2), 11),
        ((5, 4), (4, 1), 40),
        ((60,), (1,), 0),
        ((), (), 59),
        ((2, 3, 4), (1, 2, 6), 5),
        ((3, 1, 5), (5, 77, 1), 7),
        ((1, 1), (9, 9), 3),
        ((4, 5), (0, 1), 2),
        ((4, 5), (1, 1), 2),
        ((2, 1, 1, 1, 1, 1, 1, 3), (3, 1, 1, 1, 1, 1, 1, 1), 54),
    ],
)
def test_views_of_a_storage_are_looked_at_as_they_were_saved(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int, old: bool, tmp_path: Path
) -> None:
    ref = found(tmp_path, in_format(old, {"a": tensor(whole(old), shape, strides, offset)}))["a"]
    wanted = np.lib.stride_tricks.as_strided(DATA[offset:], shape, [4 * step for step in strides])
    assert values(ref).tolist() == wanted.tolist()
    assert (ref.strides is None) == wanted.flags.c_contiguous


@BOTH
def test_several_tensors_look_at_one_storage_and_some_of_it_is_looked_at_by_none(old: bool, tmp_path: Path) -> None:
    look = {
        "up": tensor(whole(old), (5, 2), (4, 1), 22),
        "gate": tensor(whole(old), (5, 2), (4, 1), 20),
        "tied": tensor(whole(old), (5, 2), (4, 1), 20),
        "window": tensor(whole(old), (4,), None, 50),
    }
    refs = found(tmp_path, in_format(old, look))
    assert list(refs) == ["gate", "tied", "up", "window"]
    block = DATA[20:40].reshape(5, 4)
    assert values(refs["gate"]).tolist() == values(refs["tied"]).tolist() == block[:, :2].tolist()
    assert values(refs["up"]).tolist() == block[:, 2:].tolist()
    assert refs["window"].end - refs["window"].start == 16


@BOTH
def test_tensors_without_weights_take_no_bytes(old: bool, tmp_path: Path) -> None:
    look = {"rows": tensor(whole(old), (0, 5), (5, 1), 60), "columns": tensor(whole(old), (1 << 30, 0), (9, 3), 8)}
    refs = found(tmp_path, in_format(old, look))
    assert {(ref.end - ref.start, ref.strides) for ref in refs.values()} == {(0, None)}


def test_an_empty_storage_may_be_kept(tmp_path: Path) -> None:
    assert found(tmp_path, saved({"a": ("F16", np.zeros((0, 4), np.float16))}))["a"].shape == (0, 4)


@BOTH
def test_a_parameter_is_the_tensor_in_it(old: bool, tmp_path: Path) -> None:
    inner = tensor(whole(old), (60,))
    hooks = ordered({})
    look = {
        "a": call("torch._utils", "_rebuild_parameter", inner, TRUE, hooks),
        "b": call("torch._utils", "_rebuild_parameter_with_state", inner, TRUE, hooks, mapping({"note": text("x")})),
    }
    refs = found(tmp_path, in_format(old, look))
    assert values(refs["a"]).tolist() == values(refs["b"]).tolist() == DATA.tolist()


@pytest.mark.parametrize("name", ["state_dict", "model", "module"])
def test_the_tensors_may_be_one_dictionary_further_in(name: str, tmp_path: Path) -> None:
    value = mapping({"epoch": number(3), name: ordered({"a": tensor(whole(False), (60,))}), "note": text("done")})
    assert list(found(tmp_path, zipped(value, WHOLE))) == ["a"]


def test_numbers_and_texts_beside_the_tensors_are_left_out(tmp_path: Path) -> None:
    loss = b"G" + b"\x3f\xf0" + bytes(6)
    beside = {"step": number(1 << 40), "loss": loss, "note": text("x"), "none": NONE, "done": FALSE}
    assert list(found(tmp_path, in_format(False, {**beside, "a": tensor(whole(False), (60,))}))) == ["a"]


def test_a_file_may_hold_no_tensors(tmp_path: Path) -> None:
    assert found(tmp_path, zipped(ordered({}), {})) == {}
    assert found(tmp_path, legacy(mapping({}), {})) == {}


def test_later_protocols_say_the_same_in_other_instructions(tmp_path: Path) -> None:
    def short(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode() + b"\x94"

    def named(module: str, name: str) -> bytes:
        return short(module) + short(name) + b"\x93\x94"

    stored = b"(" + short("storage") + named("torch", "FloatStorage") + short("0") + short("cpu") + number(60)
    empty = named("collections", "OrderedDict") + b")R\x94"
    steps = b"K\x0aK\x06\x86" + b"K\x01K\x0a\x86"
    made = named("torch._utils", "_rebuild_tensor_v2") + b"(" + stored + b"t\x94Q" + b"K\x00" + steps + FALSE + empty
    body = b"}\x94" + short("a") + made + b"t\x94R\x94s"
    pickle = b"\x80\x04\x95" + len(body).to_bytes(8, "little") + body + b"."
    parts = [Part("archive/data.pkl", pickle), *parts_of(b"", WHOLE)[1:]]
    assert values(found(tmp_path, archive(parts))["a"]).tolist() == DATA.reshape(6, 10).T.tolist()


def test_what_was_put_into_the_memo_can_be_used_again(tmp_path: Path) -> None:
    first = whole(False) + b"q\x00"
    look = mapping({"a": tensor(first, (60,)), "b": tensor(b"h\x00", (30,))})
    kept = mapping({"a": tensor(whole(False) + b"r\x00\x01\x00\x00", (60,)), "b": tensor(b"j\x00\x01\x00\x00", (30,))})
    for value in (look, kept):
        assert values(found(tmp_path, zipped(value, WHOLE))["b"]).tolist() == DATA[:30].tolist()


def test_an_archive_need_not_say_the_order_of_its_bytes(tmp_path: Path) -> None:
    parts = [part for part in parts_of(mapping({"a": tensor(whole(False), (60,))}), WHOLE) if "order" not in part.name]
    assert list(found(tmp_path, archive(parts))) == ["a"]


@pytest.mark.parametrize("flags", [0x0808, 0x0800, 0])
def test_headers_may_have_the_wide_numbers_of_large_archives(flags: int, tmp_path: Path) -> None:
    parts = parts_of(mapping({"a": tensor(whole(False), (60,))}), WHOLE)
    wide = [Part(part.name, part.data, flags=flags, wide=True) for part in parts]
    full = {"count": 0xFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
    for data in (archive(wide), archive(wide, **full)):
        assert values(found(tmp_path, data)["a"]).tolist() == DATA.tolist()


def test_an_archive_without_the_wide_end_record_is_read(tmp_path: Path) -> None:
    data = zipped(mapping({"a": tensor(whole(False), (60,))}), WHOLE)
    assert list(found(tmp_path, data[: -22 - 20 - 56] + data[-22:])) == ["a"]


def test_weights_in_an_archive_are_aligned(tmp_path: Path) -> None:
    refs = found(tmp_path, saved({"a": ("F16", np.ones(3, np.float16)), "b": ("F32", np.ones(3, np.float32))}))
    assert [ref.start % 64 for ref in refs.values()] == [0, 0]


def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    with refused("absent.bin cannot be read"):
        read_torch(tmp_path / "absent.bin")


def test_nothing_but_weights_is_found_in_another_pickle(tmp_path: Path) -> None:
    with refused("pytorch_model.bin", "something else"):
        found(tmp_path, pickled(mapping({"a": number(1)})))
