"""Descriptions of tensors that do not hold together: in the pickle, in the archive around it, in the old format."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import refused
from torch_bytes import (
    FALSE,
    NONE,
    NOTHING,
    TRUE,
    call,
    file_of,
    found,
    global_name,
    group,
    mapping,
    number,
    numbers,
    ordered,
    storage,
    tensor,
    text,
)

ORDERED = global_name("collections", "OrderedDict")
HOOKS = ORDERED + NOTHING + b"R"
FUNCTION = global_name("torch._utils", "_rebuild_tensor_v2")
BOTH = pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
UNSOUND: dict[str, bytes] = {
    "nothing": b"",
    "an end without a value": b"(",
    "two values": number(1) + number(2),
    "an open mark": b"(" + number(1),
    "an open mark before the tensors": b"(" + mapping({"a": tensor(storage())}),
    "a tuple without a mark": b"t",
    "a tuple of too few": b"\x87",
    "items for nothing": b"(u",
    "items for a list": b"](" + text("a") + number(1) + b"u",
    "items for a storage": storage() + b"(" + text("a") + number(1) + b"u",
    "an odd number of items": b"}(" + text("a") + b"u",
    "a key that is a number": b"}" + number(1) + number(2) + b"s",
    "a key that is a tuple": b"}" + NOTHING + number(2) + b"s",
    "a key that is nothing": b"}" + NONE + number(2) + b"s",
    "a doubled key": b"}(" + (text("a") + number(1)) * 2 + b"u",
    "a doubled key, one after the other": b"}" + (text("a") + number(1) + b"s") * 2,
    "append to a dictionary": b"}" + number(1) + b"a",
    "append to a tuple": NOTHING + b"(" + number(1) + b"e",
    "something from an empty memo": b"h\x00",
    "something from far away in the memo": b"j\xff\xff\xff\xff",
    "a note of nothing": b"q\x00",
    "an ordered dictionary of items": ORDERED + group(b"]") + b"R",
    "a text that is not UTF-8": b"X\x01\x00\x00\x00\xff",
    "a text that is half a surrogate": b"X\x03\x00\x00\x00\xed\xa0\x80",
    "a text that is longer than the file": b"X\xff\xff\xff\xffa",
    "a number that is longer than the file": b"\x8a\xff\x01",
    "a name without an end": b"ctorch",
    "an unknown protocol": b"\x80\x06" + mapping({}),
    "a list": b"]",
    "a tensor alone": tensor(storage()),
    "a storage alone": storage(),
    "a function alone": ORDERED,
    "a storage among the tensors": mapping({"a": storage()}),
    "a function among the tensors": mapping({"a": FUNCTION}),
    "a list among the tensors": mapping({"a": b"]"}),
    "a dictionary among the tensors": mapping({"a": tensor(storage()), "b": mapping({})}),
    "a dictionary under an unknown name": mapping({"weights": ordered({"a": tensor(storage())})}),
    "two dictionaries of tensors": mapping({"model": mapping({}), "module": mapping({})}),
    "a dictionary too far in": mapping({"model": mapping({"state_dict": mapping({"a": tensor(storage())})})}),
    "an optimizer beside the tensors": mapping({"model": mapping({"a": tensor(storage())}), "optimizer": mapping({})}),
    "a dictionary that holds itself": b"}q\x00" + text("model") + b"h\x00s",
    "a list that holds itself": b"]q\x00h\x00a",
    "a name with an escape": mapping({"a\x1b[31m": tensor(storage())}),
    "a name that climbs": mapping({"../a": tensor(storage())}),
    "an empty name": mapping({"": tensor(storage())}),
    "a name that is too long": mapping({"a" * 257: tensor(storage())}),
}  # fmt: skip


@pytest.mark.parametrize("value", UNSOUND.values(), ids=UNSOUND.keys())
def test_pickles_that_make_no_dictionary_of_tensors_are_refused(value: bytes, tmp_path: Path) -> None:
    with refused("pytorch_model.bin is not a sound PyTorch file"):
        found(tmp_path, file_of(value))


V2 = "torch._utils", "_rebuild_tensor_v2"


def persistent(*items: bytes) -> bytes:
    """A tensor on the storage that these items describe."""
    return tensor(group(*items) + b"Q")


S, F, K, C = text("storage"), global_name("torch", "FloatStorage"), text("0"), text("cpu")
TENSORS: dict[str, bytes] = {
    "a row too many": tensor(storage(), (3, 3)),
    "a row too far": tensor(storage(), (2, 3), (4, 1)),
    "an offset behind the storage": tensor(storage(), (2, 3), None, 1),
    "an empty tensor behind the storage": tensor(storage(), (0,), None, 7),
    "a negative offset": tensor(storage(), (1,), None, -1),
    "a negative stride": tensor(storage(), (2, 3), (3, -1), 2),
    "a negative length": tensor(storage(), (-2, -3), (3, 1)),
    "a length that wraps around": tensor(storage(), (1 << 32, 1 << 32), (1 << 32, 1)),
    "a stride that wraps around": tensor(storage(), (3,), ((1 << 63),)),
    "an offset that wraps around": tensor(storage(), (2,), (1,), (1 << 64) - 1),
    "an offset near the limit": tensor(storage(), (2,), (1,), (1 << 48) - 1),
    "one weight repeated for ever": tensor(storage(), (1 << 24, 1 << 24), (0, 0)),
    "too many dimensions": tensor(storage(), (1,) * 9),
    "fewer strides than lengths": tensor(storage(), (2, 3), (1,)),
    "a length that is a truth value": call(*V2, storage(), number(0), group(TRUE), numbers([1]), FALSE, HOOKS),
    "a length that is a text": call(*V2, storage(), number(0), group(text("2")), numbers([1]), FALSE, HOOKS),
    "lengths that are a list": call(*V2, storage(), number(0), b"](K\x02e", numbers([1]), FALSE, HOOKS),
    "an offset that is nothing": call(*V2, storage(), NONE, numbers([1]), numbers([1]), FALSE, HOOKS),
    "no storage": call(*V2, number(1), number(0), numbers([1]), numbers([1]), FALSE, HOOKS),
    "too few arguments": call(*V2, storage(), number(0), numbers([1]), numbers([1])),
    "too many arguments": call(*V2, storage(), number(0), numbers([1]), numbers([1]), FALSE, HOOKS, NONE, NONE),
    "no arguments": FUNCTION + NOTHING + b"R",
    "values that are to be negated": call(
        *V2, storage(), number(0), numbers([1]), numbers([1]), FALSE, HOOKS, mapping({"neg": TRUE})
    ),
    "a parameter of nothing": call("torch._utils", "_rebuild_parameter", NONE, TRUE, HOOKS),
    "a parameter of a storage": call("torch._utils", "_rebuild_parameter", storage(), TRUE, HOOKS),
    "a parameter of too little": call("torch._utils", "_rebuild_parameter", tensor(storage())),
    "more weights than the file has": tensor(storage(count=7)),
    "fewer weights than the file has": tensor(storage(count=5), (5,)),
    "weights of another type": tensor(storage("F16")),
    "a storage that is not there": tensor(storage(key="1")),
    "a storage with two sizes": tensor(storage()) + text("b") + tensor(storage(count=7)),
    "a storage of two types": tensor(storage()) + text("b") + tensor(storage("I32")),
    "a key with a slash": persistent(S, F, text("../data.pkl"), C, number(6)),
    "a key that is a number": persistent(S, F, number(0), C, number(6)),
    "an empty key": persistent(S, F, text(""), C, number(6)),
    "a key in other digits": persistent(S, F, text("\u0660"), C, number(6)),
    "a negative count": persistent(S, F, K, C, number(-6)),
    "a count that is a truth value": persistent(S, F, K, C, TRUE),
    "a huge count": persistent(S, F, K, C, number(1 << 62)),
    "no storage's type": persistent(S, ORDERED, K, C, number(6)),
    "a view on another storage": persistent(S, F, K, C, number(6), group(text("1"), number(0), number(6))),
    "an id of something else": persistent(text("module"), F, K, C, number(6)),
    "an id that is too short": persistent(S, F, K),
    "an id that is too long": persistent(S, F, K, C, number(6), NONE, NONE),
    "an id that is a text": tensor(text("storage") + b"Q"),
}


@BOTH
@pytest.mark.parametrize("value", TENSORS.values(), ids=TENSORS.keys())
def test_tensors_that_do_not_fit_into_their_storage_are_refused(value: bytes, old: bool, tmp_path: Path) -> None:
    with refused("pytorch_model.bin is not a sound PyTorch file"):
        found(tmp_path, file_of(mapping({"a": value}), old))
