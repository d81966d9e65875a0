"""What there is to compute with, asked in a child process that may fail."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import refused

from localchat.llama import devices as module
from localchat.llama.devices import Build, Device, ask_build, build, devices
from localchat.plan.detect import detect, disk_space

GPU = Device("CUDA0", "Made-up GPU", "gpu", "CUDA", 8 << 30, 7 << 30)
FOUND = {"backends": ["CUDA", "CPU"], "features": ["avx2"], "devices": [asdict(GPU)]}
LIST = json.dumps(FOUND)
NOTHING = json.dumps({**FOUND, "devices": []})


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a shell script stand in for the interpreter of the child process."""

    def made(script: str) -> None:
        path = tmp_path / "child"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(path))
        module._kept.cache_clear()

    monkeypatch.setattr(module, "_changing", set())
    yield made
    module._kept.cache_clear()


def test_the_devices_are_those_that_the_child_prints(child: Any) -> None:
    child(f"echo '{LIST}'")
    assert devices() == (GPU,)


def test_words_of_a_driver_before_the_list_do_no_harm(child: Any) -> None:
    child(f"echo 'ggml_cuda_init: found 1 device'; echo warning >&2; echo '{LIST}'")
    assert devices() == (GPU,)


def test_without_devices_the_child_is_asked_once(child: Any, tmp_path: Path) -> None:
    child(f"echo asked >> {tmp_path}/calls; echo '{NOTHING}'")
    assert devices() == devices() == ()
    assert (tmp_path / "calls").read_text() == "asked\n"


def test_what_is_free_on_a_device_is_asked_for_anew_each_time(child: Any, tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(LIST)
    child(f"cat {tmp_path}/answer")
    assert devices() == (GPU,)
    later = replace(GPU, free_bytes=1 << 30)
    (tmp_path / "answer").write_text(json.dumps({**FOUND, "devices": [asdict(later)]}))
    assert devices() == (later,)


def test_the_child_tells_what_llama_cpp_was_built_for_and_uses(child: Any) -> None:
    child(f"echo '{LIST}'")
    assert build() == Build(("CUDA", "CPU"), ("avx2",), (GPU,))


BAD_CHILDREN = {
    "says nothing": "true",
    "says an empty line": "echo",
    "says garbage": "echo no devices here",
    "says half a list": f"echo '{LIST[:-5]}'",
    "says no text": "printf '\\377\\376\\n'",
    "says null": "echo null",
    "says a number": "echo 5",
    "says a list of numbers": "echo '[1]'",
    "says an object": "echo '{\"name\": 1}'",
    "says a list": f"echo '{json.dumps([asdict(GPU)])}'",
    "leaves fields out": f"echo '{json.dumps({**FOUND, 'devices': [{'name': 'CUDA0'}]})}'",
    "leaves features out": f"echo '{json.dumps({'devices': [asdict(GPU)]})}'",
    "adds a field": f"echo '{json.dumps({**FOUND, 'devices': [asdict(GPU) | {'more': 1}]})}'",
    "says no list of devices": f"echo '{json.dumps({**FOUND, 'devices': None})}'",
    "fails": f"echo '{LIST}'; exit 1",
    "is killed": f"echo '{LIST}'; kill -9 $$",
    "crashes": f"echo '{LIST}'; kill -SEGV $$",
    "hangs": f"echo '{LIST}'; exec sleep 1000",
}


@pytest.mark.parametrize("script", BAD_CHILDREN.values(), ids=BAD_CHILDREN.keys())
def test_a_child_that_fails_means_no_devices(script: str, child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.5 if "sleep" in script else 60)
    child(script)
    assert devices() == ()
    with refused():
        ask_build()


@pytest.mark.parametrize("script", BAD_CHILDREN.values(), ids=BAD_CHILDREN.keys())
def test_a_child_that_fails_with_devices_of_other_machines_is_an_error(
    script: str, child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RPC_TIMEOUT_SECONDS", 0.5 if "sleep" in script else 60)
    child(script)
    with refused():
        devices(("127.0.0.1:50052",))


def test_an_interpreter_that_is_gone_means_no_devices(tmp_path: Path, child: Any) -> None:
    child("true")
    (tmp_path / "child").unlink()
    assert devices() == ()


FEATURES = ((b"AVX2", b"1"), (b"SVE", b"0"), (b"NEON_BITS", b"128"), (None, None))


class Library:
    """ggml as ctypes shows it, with a CPU and one device of each other kind."""

    names = (b"CPU", b"CUDA0", b"Vulkan0", None)

    def __getattr__(self, name: str) -> Any:
        handle = {"name": self.names.__getitem__, "description": lambda _: b"caf\xe9", "type": int}
        return handle[name.removeprefix("ggml_backend_dev_")]

    def ggml_backend_dev_count(self) -> int:
        return len(self.names)

    def ggml_backend_dev_get(self, index: int) -> int:
        return index

    def ggml_backend_reg_count(self) -> int:
        return 2

    def ggml_backend_reg_get(self, index: int) -> int:
        return index

    def ggml_backend_reg_by_name(self, _name: bytes) -> None:
        return None

    def ggml_backend_dev_backend_reg(self, handle: int) -> int:
        return handle

    def ggml_backend_reg_name(self, _registry: int) -> bytes:
        return b"Backend"

    def ggml_backend_dev_memory(self, handle: int, free: Any, total: Any) -> None:
        free._obj.value, total._obj.value = handle * 10, handle * 100


def test_the_child_counts_every_device_but_the_cpu() -> None:
    library: Any = Library()
    assert module._built(library) == Build(
        ("Backend", "Backend"),
        (),
        (
            Device("CUDA0", "caf\ufffd", "gpu", "Backend", 100, 10),
            Device("Vulkan0", "caf\ufffd", "igpu", "Backend", 200, 20),
            Device("", "caf\ufffd", "accelerator", "Backend", 300, 30),
        ),
    )


def test_features_that_are_off_do_not_count() -> None:
    array = (module._Feature * 4)(*[module._Feature(*pair) for pair in FEATURES])
    start = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _registry: ctypes.addressof(array))
    library: Any = SimpleNamespace(
        ggml_backend_reg_by_name=lambda _name: 1,
        ggml_backend_reg_get_proc_address=lambda _registry, _name: ctypes.cast(start, ctypes.c_void_p).value,
    )
    assert list(module._features(library)) == ["avx2", "neon_bits"]


def test_the_real_child_ends_well_with_a_list() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "localchat.llama.devices"], capture_output=True, input=b'{"rpc": []}', check=True
    )
    found = json.loads(answer.stdout)
    assert "CPU" in found["backends"]
    assert found["features"]
    for fields in found["devices"]:
        assert Device(**fields).kind in ("gpu", "igpu", "accelerator")


def test_the_facts_of_this_machine_are_found(child: Any, tmp_path: Path) -> None:
    child(f"echo '{LIST}'")
    found = detect(tmp_path)
    assert found.devices == (GPU,)
    assert found.processor.features == ("avx2",)
    assert 0 < found.memory.available_bytes <= found.memory.total_bytes
    assert found.disk_free_bytes > 0
    assert 1 <= found.processor.performance_cores <= found.processor.logical_cores <= (os.cpu_count() or 1)


@pytest.mark.usefixtures("child")
def test_the_disk_of_a_folder_that_is_still_to_be_made_is_known(tmp_path: Path) -> None:
    assert detect(tmp_path / "not" / "yet").disk_free_bytes > 0


def test_the_disk_of_a_folder_that_is_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def gone(_folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.disk_usage", gone)
    with refused("Permission denied"):
        disk_space(tmp_path)
