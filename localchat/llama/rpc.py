"""Devices of other machines: servers of llama.cpp's RPC backend, which then count as GPUs of this one.

Nothing that is sent is encrypted and nobody is asked who he is: for trusted networks only.
"""

from __future__ import annotations

import ctypes
import re
import socket
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from localchat.errors import LocalchatError
from localchat.llama.libraries import FLAGS, ggml, reinstall_command

ADDRESS = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?):([0-9]{1,5})", re.ASCII)
CONNECT_SECONDS = 3.0

SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_backend_reg_by_name": (ctypes.c_void_p, [ctypes.c_char_p]),
    "ggml_backend_reg_get_proc_address": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
    "ggml_backend_dev_by_name": (ctypes.c_void_p, [ctypes.c_char_p]),
    "ggml_backend_register": (None, [ctypes.c_void_p]),
}


def check_address(address: str) -> tuple[str, int]:
    """The host and port of HOST:PORT. Raises LocalchatError for anything else; llama.cpp knows no other form."""
    match = ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise LocalchatError(
            f"{address[:80]!r} is not the address of an RPC server", "give HOST:PORT, such as 192.168.1.5:50052"
        )
    return match[1], int(match[2])


def register(addresses: Sequence[str]) -> None:
    """Make the devices of these servers known to llama.cpp in this process, before a model is loaded; once is enough.

    Raises LocalchatError for a wrong address, where this build has no RPC, and where nobody answers. A server that
    speaks another version makes ggml end the process, and one that serves somebody else makes it wait for ever.
    """
    if not addresses:
        return
    for address in addresses:
        check_address(address)
    library = ggml(SIGNATURES)
    add_server = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(_function(library, b"ggml_backend_rpc_add_server"))
    for address in addresses:
        _reach(address)
        server = add_server(address.encode())
        if not server:
            raise LocalchatError(f"the RPC server {address} has no devices", "start it with a device")
        library.ggml_backend_register(server)


def serve(address: str, device: str = "CPU", threads: int = 1) -> None:
    """Lend a device of this machine, by its name, to others until the process ends. Raises LocalchatError.

    Whoever can reach the address may use it, and read and write what is on it: for trusted networks only.
    """
    check_address(address)
    library = ggml(SIGNATURES)
    kind = ctypes.CFUNCTYPE(
        None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.POINTER(ctypes.c_void_p)
    )
    start = kind(_function(library, b"ggml_backend_rpc_start_server"))
    handle = library.ggml_backend_dev_by_name(device.encode())
    if not handle:
        raise LocalchatError(f"llama.cpp has no device {device}", "see what there is: localchat hardware")
    start(address.encode(), None, threads, 1, (ctypes.c_void_p * 1)(handle))


def _function(library: SimpleNamespace, name: bytes) -> Any:
    """The address of a function of the RPC backend."""
    backend = library.ggml_backend_reg_by_name(b"RPC")
    found = backend and library.ggml_backend_reg_get_proc_address(backend, name)
    if not found:
        raise LocalchatError(
            "this build of llama.cpp cannot use devices of other machines", f"run: {reinstall_command(FLAGS['rpc'])}"
        )
    return found


def _reach(address: str) -> None:
    """Ask whether anybody listens, since ggml ends the process where nobody does."""
    try:
        socket.create_connection(check_address(address), CONNECT_SECONDS).close()
    except OSError as error:
        raise LocalchatError(
            f"no RPC server answers at {address}: {error.strerror or error}",
            "start tools/rpc_server.py or llama.cpp's rpc-server there, or check the address",
        ) from error
