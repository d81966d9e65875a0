"""What there is to compute with: asked in a child process that may fail, and read from model files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.gguf_file import ModelFile, read_header
from localchat.llama import devices as module
from localchat.llama.devices import Device, devices
from localchat.plan.facts import candidate_of, shape_of
from localchat.plan.hardware import detect, usable_cores
from localchat.plan.plan import Shape

GPU = Device("CUDA0", "Made-up GPU", "gpu", "CUDA", 8 << 30, 7 << 30)
LIST = json.dumps({"devices": [asdict(GPU)]})


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a shell script stand in for the interpreter of the child process."""

    def made(script: str) -> None:
        path = tmp_path / "child"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(path))
        devices.cache_clear()

    yield made
    devices.cache_clear()


def test_the_devices_are_those_that_the_child_prints(child: Any) -> None:
    child(f"echo '{LIST}'")
    assert devices() == (GPU,)


def test_words_of_a_driver_before_the_list_do_no_harm(child: Any) -> None:
    child(f"echo 'ggml_cuda_init: found 1 device'; echo warning >&2; echo '{LIST}'")
    assert devices() == (GPU,)


def test_the_child_is_asked_once(child: Any, tmp_path: Path) -> None:
    child(f"echo asked >> {tmp_path}/calls; echo '{LIST}'")
    assert devices() == devices() == (GPU,)
    assert (tmp_path / "calls").read_text() == "asked\n"


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
    "leaves fields out": 'echo \'{"devices": [{"name": "CUDA0"}]}\'',
    "adds a field": f"echo '{json.dumps({'devices': [asdict(GPU) | {'more': 1}]})}'",
    "says no list of devices": "echo '{\"devices\": null}'",
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


def test_an_interpreter_that_is_gone_means_no_devices(tmp_path: Path, child: Any) -> None:
    child("true")
    (tmp_path / "child").unlink()
    assert devices() == ()


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

    def ggml_backend_dev_backend_reg(self, handle: int) -> int:
        return handle

    def ggml_backend_reg_name(self, _registry: int) -> bytes:
        return b"Backend"

    def ggml_backend_dev_memory(self, handle: int, free: Any, total: Any) -> None:
        free._obj.value, total._obj.value = handle * 10, handle * 100


def test_the_child_counts_every_device_but_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_library", Library)
    assert module._listed() == [
        Device("CUDA0", "caf\ufffd", "gpu", "Backend", 100, 10),
        Device("Vulkan0", "caf\ufffd", "igpu", "Backend", 200, 20),
        Device("", "caf\ufffd", "accelerator", "Backend", 300, 30),
    ]


def test_the_real_child_ends_well_with_a_list() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "localchat.llama.devices"], capture_output=True, input=b"{}", check=True
    )
    for fields in json.loads(answer.stdout)["devices"]:
        assert Device(**fields).kind in ("gpu", "igpu", "accelerator")


def test_the_facts_of_this_machine_are_found(child: Any, tmp_path: Path) -> None:
    child(f"echo '{LIST}'")
    found = detect(tmp_path)
    assert found.devices == (GPU,)
    assert 0 < found.memory_available_bytes <= found.memory_total_bytes
    assert found.disk_free_bytes > 0
    assert 1 <= found.physical_cores <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("physical", "logical", "allowed", "cores"),
    [
        (8, 16, 16, 8),
        (8, 16, 2, 2),
        (4, 8, 1, 1),
        (None, 6, 6, 6),
        (None, None, 4, 1),
        (4, 8, None, 4),
    ],
)
def test_no_more_cores_are_used_than_there_are_and_than_are_allowed(
    physical: int | None, logical: int | None, allowed: int | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: logical or physical)
    monkeypatch.setattr(os, "cpu_count", lambda: logical)
    if allowed is None:
        monkeypatch.delattr(os, "sched_getaffinity")
    else:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(allowed)))
    assert usable_cores() == cores


def test_the_shape_of_a_model_file_is_read(chatml_file: Path) -> None:
    model = read_header(chatml_file)
    assert shape_of(model) == Shape(
        layers=2, kv_heads=2, head_dim=64, feed_forward=256, vocabulary=1026, context=32768, parameters=1_313_024
    )  # fmt: skip
    candidate = candidate_of(model)
    assert candidate.quant == "Q8_0"
    assert 0.98 < candidate.weights_bytes / chatml_file.stat().st_size <= 1


def test_the_shape_of_a_published_model_file_is_read(smollm2_file: Path) -> None:
    assert shape_of(read_header(smollm2_file)) == Shape(
        layers=30, kv_heads=3, head_dim=64, feed_forward=1536, vocabulary=49152, context=8192,
        parameters=134_515_008,
    )  # fmt: skip


NEEDED = {
    "llama.block_count": 2, "llama.attention.head_count": 4, "llama.embedding_length": 256,
    "llama.feed_forward_length": 512, "llama.context_length": 1024,
}  # fmt: skip
OLD = ModelFile(
    Path("old.gguf"), {"general.architecture": "llama", "tokenizer.ggml.tokens": ["a", "b"], **NEEDED}, (), 0, 0
)


def test_what_older_files_leave_out_follows_from_the_rest() -> None:
    assert shape_of(changed(**{"llama.attention.head_count_kv": 1})).kv_heads == 1
    assert shape_of(OLD) == Shape(
        layers=2, kv_heads=4, head_dim=64, feed_forward=512, vocabulary=2, context=1024, parameters=0
    )  # fmt: skip


def changed(**metadata: Any) -> ModelFile:
    """The old file with some metadata changed; an Ellipsis takes the key away."""
    found = {**OLD.metadata, **metadata}
    return replace(OLD, metadata={key: value for key, value in found.items() if value is not ...})


@pytest.mark.parametrize("value", [..., 0, -1, 1 << 40, "2", 2.0, [2, 2], True], ids=repr)
@pytest.mark.parametrize("key", [*NEEDED, "tokenizer.ggml.tokens"])
def test_a_file_that_does_not_say_its_shape_is_refused(key: str, value: Any) -> None:
    if key == "tokenizer.ggml.tokens" and isinstance(value, list):
        value = []
    with refused("old.gguf"):
        shape_of(changed(**{key: value}))


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
)
KEYS = [
    *OLD.metadata,
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.vocab_size",
    "general.file_type",
]


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_any_metadata_gives_a_shape_or_a_sentence(metadata: dict[str, Any]) -> None:
    with sound_or_refused():
        shape = shape_of(changed(**metadata))
        facts = asdict(shape)
        assert facts.pop("parameters") == 0  # this file has no tensors
        assert all(type(value) is int and value > 0 for value in facts.values())
        assert candidate_of(changed(**metadata)).quant
