"""Devices of other machines: addresses, builds that cannot have them, and servers that are not there."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import refused

from localchat.llama import rpc
from localchat.llama.devices import devices
from localchat.llama.libraries import FLAGS
from localchat.llama.rpc import check_address, register


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:50052", ("127.0.0.1", 50052)),
        ("gpu-box.local:1", ("gpu-box.local", 1)),
        ("h:65535", ("h", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert check_address(address) == parts


BAD = [
    "", ":", "host", "host:", ":50052", "host:0", "host:65536", "host:-1", "host:1x", "host:50052\n", "ho st:50052",
    "[::1]:50052", "::1:50052", "http://host:50052", "host:50052/x", "-host:50052", "host:٣", "host\x1b[2J:5",
    "x" * 300 + ":50052",
]  # fmt: skip


@pytest.mark.parametrize("address", BAD, ids=ascii)
def test_anything_else_is_refused_before_a_process_is_started(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.llama.devices.ask", None)
    with refused("is not the address of an RPC server"):
        devices((address,))
    with refused("is not the address of an RPC server"):
        register(["127.0.0.1:50052", address])


class Ggml:
    """ggml with the RPC backend; `served` are the registries of the servers that have devices."""

    def __init__(self, served: dict[bytes, int]) -> None:
        self.registered: list[int] = []
        self._start = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(lambda address: served.get(address, 0))

    def ggml_backend_reg_by_name(self, name: bytes) -> int:
        return 1 if name == b"RPC" else 0

    def ggml_backend_reg_get_proc_address(self, _registry: int, name: bytes) -> Any:
        assert name == b"ggml_backend_rpc_add_server"
        return ctypes.cast(self._start, ctypes.c_void_p).value

    def ggml_backend_register(self, registry: int) -> None:
        self.registered.append(registry)


@pytest.fixture
def listening() -> Iterator[str]:
    """The address of somebody who listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def closed_address() -> str:
    """An address where nobody listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_the_devices_of_each_server_are_made_known(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Ggml({listening.encode(): 7})
    monkeypatch.setattr(rpc, "ggml", lambda _signatures: library)
    register([listening])
    assert library.registered == [7]


def test_a_server_without_devices_is_an_error(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "ggml", lambda _signatures: Ggml({}))
    with refused(listening, "has no devices"):
        register([listening])


def test_a_server_that_is_not_there_never_reaches_ggml(monkeypatch: pytest.MonkeyPatch) -> None:
    address = closed_address()
    library = Ggml({address.encode(): 7})
    monkeypatch.setattr(rpc, "ggml", lambda _signatures: library)
    with refused(f"no RPC server answers at {address}"):
        register([address])
    assert library.registered == []


def test_a_host_that_has_no_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(rpc, "ggml", lambda _signatures: Ggml({}))
    monkeypatch.setattr(socket, "create_connection", unknown)
    with refused("gpu-box:50052", "Name or service not known"):
        register(["gpu-box:50052"])


@pytest.mark.parametrize(("registry", "function"), [(0, 5), (None, 5), (1, 0), (1, None)])
def test_a_build_without_rpc_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, registry: int | None, function: int | None
) -> None:
    library = SimpleNamespace(
        ggml_backend_reg_by_name=lambda _name: registry,
        ggml_backend_reg_get_proc_address=lambda _registry, _name: function,
    )
    monkeypatch.setattr(rpc, "ggml", lambda _signatures: library)
    with pytest.raises(rpc.LocalchatError, match="cannot use devices of other machines") as caught:
        register(["127.0.0.1:50052"])
    assert FLAGS["rpc"] in caught.value.hint


def test_nothing_is_loaded_where_there_is_nothing_to_make_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "ggml", None)
    register([])


def test_the_real_child_says_why_a_server_cannot_be_had() -> None:
    with refused():
        devices((closed_address(),))


LOADED_ONCE = """
from localchat.llama.devices import buffer_names, list_devices
from localchat.llama.model import start

start()
list_devices()
buffer_names([])
with open("/proc/self/maps") as maps:
    names = {line.split("/")[-1].strip() for line in maps if "/libggml" in line or "/libllama" in line}
print(*sorted(name.split(".")[0] for name in names))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what is loaded is listed as Linux does")
def test_devices_are_asked_of_the_libraries_that_llama_cpp_itself_uses() -> None:
    """Each lies there under several names, and by another name it would be loaded again, with devices of its own."""
    done = subprocess.run([sys.executable, "-c", LOADED_ONCE], capture_output=True, check=True, text=True)
    names = done.stdout.split()
    assert {"libggml", "libggml-base", "libllama"} <= set(names)
    assert len(names) == len(set(names))
