"""What this build of llama.cpp computes with, as llama.cpp itself counts it.

Asking a GPU backend creates a context on the GPU and runs a driver's code, so it is done in a child process that ends:
`python -m localchat.llama.devices`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

from localchat.child import ChildDied, answer, ask
from localchat.errors import LocalchatError
from localchat.llama.libraries import ggml
from localchat.llama.rpc import check_address, register
from localchat.text import one_line

KINDS = {1: "gpu", 2: "igpu", 3: "accelerator"}  # enum ggml_backend_dev_type; 0 is the CPU itself
TIMEOUT_SECONDS = 60  # a cold GPU driver can take tens of seconds
RPC_TIMEOUT_SECONDS = 20  # a server that serves somebody else lets everybody wait


@dataclass(frozen=True, slots=True)
class Device:
    """One device besides the CPU."""

    name: str
    description: str
    kind: str
    """`gpu`, `igpu` (shares the main memory) or `accelerator`."""
    backend: str
    total_bytes: int
    free_bytes: int
    memory_bandwidth_bytes_per_second: float | None = None
    """At which it multiplies a matrix by a vector; None where it was not measured."""


@dataclass(frozen=True, slots=True)
class Build:
    """What this build of llama.cpp can do on this machine."""

    backends: tuple[str, ...] = ()
    """All that it was built with, such as `CUDA` and `CPU`, whether there is a device for them or not."""
    features: tuple[str, ...] = ()
    """Instruction sets that its CPU backend uses here, in lower case."""
    devices: tuple[Device, ...] = ()


def devices(rpc: tuple[str, ...] = ()) -> tuple[Device, ...]:
    """The devices besides the CPU, as `build` finds them."""
    return build(rpc).devices


def build(rpc: tuple[str, ...] = ()) -> Build:
    """What llama.cpp can do now, asked in a child process; nothing where the child fails.

    The devices of the servers in `rpc` count as well; LocalchatError is raised where those cannot be had.
    """
    found = _kept(rpc)
    if found.devices:
        _changing.add(rpc)
    if rpc in _changing:
        _kept.cache_clear()
    return found


_changing: set[tuple[str, ...]] = set()
"""Questions whose answer has had devices: what is free on them changes, and over a sleep they may go and come back.
Where there never were any, there is nothing to ask for again."""


@cache
def _kept(rpc: tuple[str, ...]) -> Build:
    try:
        return ask_build(rpc)
    except LocalchatError:
        if rpc:
            raise
        return Build()


def ask_build(rpc: tuple[str, ...] = ()) -> Build:
    """The same, asked anew. Raises LocalchatError where the child fails."""
    for address in rpc:
        check_address(address)
    seconds = RPC_TIMEOUT_SECONDS if rpc else TIMEOUT_SECONDS
    try:
        found = ask("localchat.llama.devices", {"rpc": list(rpc)}, seconds)
        listed = tuple(Device(**fields) for fields in found["devices"])
        return Build(tuple(found["backends"]), tuple(found["features"]), listed)
    except ChildDied as error:
        if rpc:
            raise _unanswered(rpc, error) from error
        raise
    except (OSError, KeyError, TypeError) as error:
        raise ChildDied("llama.cpp did not say what it can do", "run: localchat doctor") from error


def _unanswered(rpc: tuple[str, ...], error: ChildDied) -> LocalchatError:
    return LocalchatError(
        f"an RPC server ({', '.join(rpc)}) broke off or did not answer: {error}",
        "a server serves one program at a time and must be of this llama.cpp's version: start it again",
    )


SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_backend_reg_count": (ctypes.c_size_t, []),
    "ggml_backend_reg_get": (ctypes.c_void_p, [ctypes.c_size_t]),
    "ggml_backend_reg_name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "ggml_backend_reg_by_name": (ctypes.c_void_p, [ctypes.c_char_p]),
    "ggml_backend_reg_get_proc_address": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
    "ggml_backend_dev_count": (ctypes.c_size_t, []),
    "ggml_backend_dev_get": (ctypes.c_void_p, [ctypes.c_size_t]),
    "ggml_backend_dev_by_name": (ctypes.c_void_p, [ctypes.c_char_p]),
    "ggml_backend_dev_buffer_type": (ctypes.c_void_p, [ctypes.c_void_p]),
    "ggml_backend_buft_name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "ggml_backend_dev_type": (ctypes.c_int, [ctypes.c_void_p]),
    "ggml_backend_dev_name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "ggml_backend_dev_description": (ctypes.c_char_p, [ctypes.c_void_p]),
    "ggml_backend_dev_backend_reg": (ctypes.c_void_p, [ctypes.c_void_p]),
    "ggml_backend_dev_memory": (None, [ctypes.c_void_p] * 3),
}


def list_devices() -> tuple[Device, ...]:
    """The devices besides the CPU, asked in this process, which must be one that may be lost."""
    return _built(ggml(SIGNATURES)).devices


def buffer_names(devices: Sequence[str]) -> dict[str, str]:
    """What llama.cpp calls the memory of each of these devices, in this process."""
    library = ggml(SIGNATURES)
    handles = {device: library.ggml_backend_dev_by_name(device.encode()) for device in devices}
    kinds = {device: library.ggml_backend_dev_buffer_type(handle) for device, handle in handles.items()}
    return {device: _text(library.ggml_backend_buft_name(kind)) for device, kind in kinds.items()}


class _Feature(ctypes.Structure):
    """struct ggml_backend_feature; an array of them ends with one that has no name."""

    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_char_p)]


def _built(library: SimpleNamespace) -> Build:
    handles = [library.ggml_backend_dev_get(index) for index in range(library.ggml_backend_dev_count())]
    registries = [library.ggml_backend_reg_get(index) for index in range(library.ggml_backend_reg_count())]
    return Build(
        backends=tuple(_text(library.ggml_backend_reg_name(registry)) for registry in registries),
        features=tuple(_features(library)),
        devices=tuple(_device(library, handle) for handle in handles if library.ggml_backend_dev_type(handle) in KINDS),
    )


def _device(library: SimpleNamespace, handle: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    library.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    return Device(
        name=_text(library.ggml_backend_dev_name(handle)),
        description=_text(library.ggml_backend_dev_description(handle)),
        kind=KINDS[library.ggml_backend_dev_type(handle)],
        backend=_text(library.ggml_backend_reg_name(library.ggml_backend_dev_backend_reg(handle))),
        total_bytes=total.value,
        free_bytes=min(free.value, total.value),
    )


def _features(library: SimpleNamespace) -> Iterator[str]:
    registry = library.ggml_backend_reg_by_name(b"CPU")
    start = registry and library.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_get_features")
    if not start:
        return
    pairs = ctypes.CFUNCTYPE(ctypes.POINTER(_Feature), ctypes.c_void_p)(start)(registry)
    index = 0
    while pairs[index].name:
        if pairs[index].value != b"0":
            yield _text(pairs[index].name).lower()
        index += 1


def _text(value: bytes | None) -> str:
    return one_line((value or b"").decode("utf-8", "replace"))


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    register(question["rpc"])
    return asdict(_built(ggml(SIGNATURES)))


if __name__ == "__main__":
    answer(_reply)
