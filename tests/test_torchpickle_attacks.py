"""Pickles that try to run something, or to use up time and memory: nothing is run, and all are refused."""

from __future__ import annotations

import pickle
import pickletools
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused
from torch_bytes import (
    NONE,
    NOTHING,
    TRUE,
    Part,
    archive,
    call,
    file_of,
    found,
    global_name,
    group,
    mapping,
    number,
    ordered,
    pickled,
    storage,
    tensor,
    text,
)

from localchat.convert.torch import unpickler
from localchat.convert.torch.torchweights import dialect
from localchat.convert.torch.unpickler import INSTRUCTIONS, Unsound, load

BOTH = pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])


GLOBALS = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
    ("builtins", "exec"), ("__builtin__", "eval"), ("builtins", "getattr"), ("builtins", "__import__"),
    ("builtins", "dict"), ("builtins", "open"), ("builtins", "bytearray"), ("importlib", "import_module"),
    ("runpy", "run_path"), ("pty", "spawn"), ("shutil", "rmtree"), ("socket", "create_connection"),
    ("logging", "os.system"), ("pathlib", "os.system"), ("collections", "OrderedDict.fromkeys"),
    ("collections", "os"), ("collections", "OrderedDict.__reduce__"), ("collections", "namedtuple"),
    ("collections", "_sys.modules"), ("functools", "partial"), ("functools", "reduce"), ("operator", "attrgetter"),
    ("operator", "methodcaller"), ("copyreg", "_reconstructor"), ("copyreg", "__newobj__"), ("pickle", "loads"),
    ("_pickle", "loads"), ("types", "FunctionType"), ("types", "CodeType"), ("marshal", "loads"), ("ctypes", "CDLL"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "scalar"), ("numpy", "load"),
    ("numpy.testing._private.utils", "runstring"), ("_codecs", "encode"), ("codecs", "decode"), ("torch.hub", "load"),
    ("torch", "load"), ("torch.jit", "load"), ("torch", "storage"), ("torch.storage", "os"),
    ("torch.serialization", "_get_layout"), ("torch.serialization", "os.system"),
    ("torch.storage", "_load_from_bytes"), ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v3"), ("torch._utils", "_rebuild_wrapper_subclass"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy"), ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("torch._utils", "torch.os.system"),
    ("torch", "_utils._rebuild_tensor_v2"), ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch.nn.modules.container", "Sequential"), ("torch", "Tensor"), ("torch", "QInt8Storage"),
    ("torch", "ComplexFloatStorage"), ("torch", "Storage"), ("Torch", "FloatStorage"), ("torch", "floatstorage"),
    ("torch", "FloatStorage "), (" torch", "FloatStorage"), ("torch", ""), ("", "FloatStorage"), ("", ""),
    ("torch FloatStorage", ""), ("collections OrderedDict", "x"), ("builtins", "object"), ("timeit", "timeit"),
    ("pydoc", "locate"), ("webbrowser", "open"), ("idlelib.run", "Executive"),
    ("lib2to3.pgen2.pgen", "generate_grammar"), ("transformers", "AutoModel"), ("__main__", "run"),
    ("localchat.files", "write_text"), ("localchat.convert.torch.unpickler", "load"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), GLOBALS, ids=lambda value: value or "empty")
def test_no_name_but_those_of_tensors_is_known(module: str, name: str, tmp_path: Path) -> None:
    both = text(module) + text(name) + b"\x93"
    for wanted in (global_name(module, name), both):
        called = wanted + group(text("touch sentinel")) + b"R"
        for value in (called, mapping({"a": called}), wanted):
            with refused("pytorch_model.bin is not safe", "it asks for"):
                found(tmp_path, file_of(value))


@BOTH
@pytest.mark.parametrize("module", ["os", "posix", "subprocess", "pathlib"])
def test_what_a_pickle_would_run_is_not_run(module: str, old: bool, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    names = {"os": "system", "posix": "system", "subprocess": "getoutput", "pathlib": "os.system"}
    attack = call(module, names[module], text(f"touch {sentinel}"))
    hidden = ordered({"_": tensor(storage("F32", 6, "0", *((NONE,) if old else ())))}) + attack + b"0"
    for value in (attack, hidden, mapping({"a": attack}), attack + mapping({})):
        with refused("is not safe", f"{module}.{names[module]}"):
            found(tmp_path, file_of(value, old))
    assert not sentinel.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_what_python_itself_pickles_to_run_something_is_not_run(protocol: int, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (sentinel,)

    data = pickle.dumps({"a": Attack()}, protocol)
    with refused("pytorch_model.bin"):
        found(tmp_path, data)
    with refused("pytorch_model.bin"):
        found(tmp_path, archive([Part("archive/data.pkl", data)]))
    assert not sentinel.exists()
    pickle.loads(data)  # the attack is a real one
    assert sentinel.exists()


@pytest.mark.parametrize("place", ["magic", "version", "facts", "keys"])
def test_none_of_the_pickles_of_the_old_format_is_run(place: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    value, attack = mapping({}), pickled(call("os", "system", text(f"touch {sentinel}")))
    pickles = [
        pickled(number(0x1950A86A20F9469CFC6C)),
        pickled(number(1001)),
        pickled(mapping({"little_endian": TRUE})),
    ]
    pickles += [pickled(value), pickled(b"]")]
    at = {"magic": 0, "version": 1, "facts": 2, "keys": 4}[place]
    assert found(tmp_path, b"".join(pickles)) == {}
    with refused("is not safe", "os.system"):
        found(tmp_path, b"".join([*pickles[:at], attack, *pickles[at + 1 :]]))
    assert not sentinel.exists()


def test_a_name_with_escapes_is_shown_without_them(tmp_path: Path) -> None:
    with refused("a␛[31mb.c") as _:
        found(tmp_path, file_of(global_name("a\x1b[31mb", "c")))
    with refused("…"):
        found(tmp_path, file_of(text("m" * 100_000) + text("n") + b"\x93"))


UNKNOWN = sorted(set(range(256)) - set(INSTRUCTIONS) - {ord(".")})


@pytest.mark.parametrize("code", UNKNOWN, ids=lambda code: f"{code:#04x}")
def test_every_other_instruction_is_refused(code: int, tmp_path: Path) -> None:
    with refused("is not safe", f"the pickle instruction {code:#04x}"):
        found(tmp_path, file_of(mapping({"a": b"(" + bytes([code]) + b"cos\nsystem\n" + b"x\n" * 9})))


def test_instructions_are_those_of_pickle() -> None:
    codes = {info.name: ord(info.code) for info in pickletools.opcodes}
    harmful = {
        "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "LONG4", "BINUNICODE8", "BINBYTES8",
        "BYTEARRAY8", "NEXT_BUFFER", "DUP", "POP",
    }  # fmt: skip
    assert set(INSTRUCTIONS) < set(codes.values())
    assert {codes[name] for name in harmful} <= set(UNKNOWN)


ORDERED = global_name("collections", "OrderedDict")
HOOKS = ORDERED + NOTHING + b"R"
FUNCTION = global_name("torch._utils", "_rebuild_tensor_v2")
STACKS: dict[str, bytes] = {
    "a call of a text": text("os.system") + NOTHING + b"R",
    "a call of a storage's type": global_name("torch", "FloatStorage") + group(number(9)) + b"R",
    "a call of a dictionary": b"}" + NOTHING + b"R",
    "arguments that are a list": ORDERED + b"]R",
    "a state for a function": ORDERED + b"}b",
    "a state for a plain dictionary": b"}}b",
    "a state for a storage": storage() + b"}b",
    "a state for a tensor": tensor(storage()) + b"}b",
    "a state that is no dictionary": ORDERED + NOTHING + b"R" + NOTHING + b"b",
    "a state that is an ordered dictionary": ORDERED + NOTHING + b"R" + ORDERED + NOTHING + b"Rb",
    "a state in two parts": ORDERED + NOTHING + b"R" + group(NONE, b"}") + b"b",
    "a state for nothing": b"}b",
    "a name that is a number": text("torch") + number(1) + b"\x93",
    "a module that is a function": ORDERED + text("x") + b"\x93",
}


@pytest.mark.parametrize("value", STACKS.values(), ids=STACKS.keys())
def test_calls_and_states_are_for_what_tensors_are_made_from(value: bytes, tmp_path: Path) -> None:
    with refused("pytorch_model.bin is not safe"):
        found(tmp_path, file_of(value))


def nest(count: int) -> bytes:
    """A tuple in a tuple in a tuple."""
    return b"(" * count + b"t" * count


BOMBS: dict[str, bytes] = {
    "tuples in tuples": nest(200_000),
    "tuples that double": NOTHING + b"q\x00h\x00\x86" * 100_000,
    "a key that doubles": b"}" + NOTHING + b"q\x00h\x00\x86" * 60 + NONE + b"s",
    "lists that double": b"]" + b"q\x00]h\x00ah\x00a" * 50_000,
    "dictionaries that double": b"}" + (b"q\x00}" + text("a") + b"h\x00s" + text("b") + b"h\x00s") * 40_000,
    "one instruction again and again": b"\x80\x02" * 600_000,
    "marks": b"(" * 600_000,
    "a memo that grows": b"]" + b"\x94" * 600_000,
    "a memo with a far place": b"]r\xff\xff\xff\xff",
    "ordered dictionaries": HOOKS * 100_000,
    "numbers that are long": (b"\x8a\xff" + b"\x7f" * 255) * 50_000,
    "a text of all that there is": b"X" + struct.pack("<I", 15 << 20) + b"a" * (15 << 20),
    "a pickle above the limit": b"X" + struct.pack("<I", 17 << 20) + b"a" * (17 << 20),
}


@BOTH
@pytest.mark.parametrize("value", BOMBS.values(), ids=BOMBS.keys())
def test_pickles_that_grow_are_bounded(value: bytes, old: bool, tmp_path: Path) -> None:
    with refused("pytorch_model.bin"):
        found(tmp_path, file_of(value, old))


def test_the_number_of_instructions_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickled(NONE)
    monkeypatch.setattr(unpickler, "INSTRUCTION_LIMIT", 3)
    assert load(data, 0) == (None, len(data))
    monkeypatch.setattr(unpickler, "INSTRUCTION_LIMIT", 2)
    with pytest.raises(Unsound, match="too long"):
        load(data, 0)


PIECES = [
    *(bytes([code]) for code in INSTRUCTIONS), b"(", b"(", b".", NOTHING, NONE, number(0), number(6), number(-1),
    text("a"), text("0"), text("storage"), ORDERED, FUNCTION, global_name("torch", "FloatStorage"), storage(),
    tensor(storage()), HOOKS, b"}", b"]", b"q\x00", b"h\x00", b"R", b"\x00", b"\xff\xff\xff\xff",
]  # fmt: skip
LENIENT = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LENIENT
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_soup_of_instructions_is_a_value_or_refused(pieces: list[bytes]) -> None:
    data = pickled(b"".join(pieces))
    with suppress(Unsound):
        _, end = load(data, 0, dialect({}))
        assert data[end - 1 : end] == b"."


@LENIENT
@given(st.lists(st.sampled_from(PIECES), max_size=20), st.booleans())
def test_any_soup_of_instructions_in_a_file_is_sound_or_refused(tmp_path: Path, pieces: list[bytes], old: bool) -> None:
    value = mapping({"a": tensor(storage())})
    with sound_or_refused():
        found(tmp_path, file_of(b"".join(pieces) + value, old))
