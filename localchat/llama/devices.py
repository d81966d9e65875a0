"""The devices that this build of llama.cpp will use, as llama.cpp itself counts them.

Asking a GPU backend creates a context on the GPU and runs a driver's code, so it is done in a child process that ends:
`python -m localchat.llama.devices`.
"""

from __future__ import annotations

import ctypes
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from localchat.child import answer, ask
from localchat.errors import LocalchatError
from localchat.llama.libraries import load_library

KINDS = {1: "gpu", 2: "igpu", 3: "accelerator"}  # enum ggml_backend_dev_type; 0 is the CPU itself
TIMEOUT_SECONDS = 60  # a cold GPU driver can take tens of seconds


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


@cache
def devices() -> tuple[Device, ...]:
    """The devices besides the CPU, asked once in a child process; none where the child fails."""
    try:
        found = ask("localchat.llama.devices", {}, TIMEOUT_SECONDS)
        return tuple(Device(**fields) for fields in found["devices"])
    except (LocalchatError, OSError, KeyError, TypeError):
        return ()


def _listed() -> list[Device]:
    ggml = _library()
    handles = [ggml.ggml_backend_dev_get(index) for index in range(ggml.ggml_backend_dev_count())]
    return [_device(ggml, handle) for handle in handles if ggml.ggml_backend_dev_type(handle) in KINDS]


def _device(ggml: ctypes.CDLL, handle: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ggml.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    return Device(
        name=_text(ggml.ggml_backend_dev_name(handle)),
        description=_text(ggml.ggml_backend_dev_description(handle)),
        kind=KINDS[ggml.ggml_backend_dev_type(handle)],
        backend=_text(ggml.ggml_backend_reg_name(ggml.ggml_backend_dev_backend_reg(handle))),
        total_bytes=total.value,
        free_bytes=free.value,
    )


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _library() -> ctypes.CDLL:
    ggml = load_library("ggml")
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "ggml_backend_dev_count": (ctypes.c_size_t, []),
        "ggml_backend_dev_get": (ctypes.c_void_p, [ctypes.c_size_t]),
        "ggml_backend_dev_type": (ctypes.c_int, [ctypes.c_void_p]),
        "ggml_backend_dev_name": (ctypes.c_char_p, [ctypes.c_void_p]),
        "ggml_backend_dev_description": (ctypes.c_char_p, [ctypes.c_void_p]),
        "ggml_backend_dev_backend_reg": (ctypes.c_void_p, [ctypes.c_void_p]),
        "ggml_backend_reg_name": (ctypes.c_char_p, [ctypes.c_void_p]),
        "ggml_backend_dev_memory": (None, [ctypes.c_void_p] * 3),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(ggml, name)
        function.restype, function.argtypes = result, arguments
    return ggml


if __name__ == "__main__":
    answer(lambda _question: {"devices": [asdict(device) for device in _listed()]})
