"""Machines and models for tests of the plan, and dry runs that are made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from localchat.catalog import lookup
from localchat.convert.config import parse_config
from localchat.llama.devices import Device
from localchat.llama.dry_run import Work
from localchat.llama.placement import HOST
from localchat.plan.hardware import Hardware, Memory, Processor, System
from localchat.plan.hardware_file import read_hardware
from localchat.plan.layout import WorkKey, Works
from localchat.plan.make import Machine, make_plan
from localchat.plan.plan import Plan
from localchat.plan.wish import Wish
from localchat.plan.works import Devices, Subject
from localchat.pull.decide import subject_for, types_for

MIB, GIB = 1 << 20, 1 << 30
FILES = sorted((Path(__file__).parent / "data" / "machines").glob("*.json"))
LITTLE = Work({"any": 124 * MIB}, 124 * MIB, False)
"""About what llama.cpp takes for a 7B model, on every device and in main memory."""

Summary = tuple[str, int, str, str, dict[str, int]]
"""Type, context, KV type, where it fits, and the layers on each device."""
FindWorks = Callable[[Sequence[Subject], Sequence[Sequence[WorkKey]], Devices], list[Works]]
# Of Mistral-NeMo: the vocabulary of 131,072 tokens, and heads that are narrower than the hidden width divided by them.
NEMO_CONFIG: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"], "hidden_size": 5120, "intermediate_size": 14336, "num_hidden_layers": 40,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072,
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0,
}  # fmt: skip


def device(kind: str, total: float, free: float, name: str = "CUDA0", rate: float | None = None) -> Device:
    """One device; sizes in GiB."""
    backend = {"CUDA0": "CUDA", "CUDA1": "CUDA", "MTL0": "MTL"}.get(name, "Vulkan")
    return Device(name, "made up", kind, backend, int(total * GIB), int(free * GIB), rate)


def machine(
    memory: float, available: float, *devices: Device, cores: int = 8, screen: bool = False, system: System = "linux",
    rate: float | None = None,
) -> Hardware:  # fmt: skip
    """A machine; sizes in GiB."""
    return Hardware(
        system, Processor("made up", cores, 2 * cores), Memory(int(memory * GIB), int(available * GIB)), 100 * GIB,
        devices, has_screen=screen, memory_bandwidth_bytes_per_second=rate,
    )  # fmt: skip


def subject(name: str) -> Subject:
    """A published model, and all types that it could have."""
    entry = lookup(name)
    assert entry is not None
    return subject_for(parse_config(entry.config), types_for(Wish()))


MISTRAL, MIXTRAL = subject("mistral-7b-instruct-v0.2"), subject("mixtral-8x7b-instruct-v0.1")
SMALL, NEMO = subject("smollm2"), subject_for(parse_config(NEMO_CONFIG), types_for(Wish()))

MACHINES: dict[str, Hardware] = {
    **{path.stem: read_hardware(path) for path in FILES},
    "4 GB NVIDIA": machine(16, 12, device("gpu", 4, 3.7)),
    "6 GB NVIDIA": machine(16, 12, device("gpu", 6, 5.6)),
    "accelerator alone": machine(16, 12, device("accelerator", 16, 16, "BLAS")),
    "igpu beside 8 GB": machine(32, 26, device("igpu", 16, 15, "Vulkan0"), device("gpu", 8, 7.5)),
    "12 GB and 6 GB": machine(32, 26, device("gpu", 12, 11.4), device("gpu", 6, 5.6, "CUDA1")),
    "6 GB and 12 GB": machine(32, 26, device("gpu", 6, 5.6), device("gpu", 12, 11.4, "CUDA1")),
}


def made_up(work: Work = LITTLE) -> FindWorks:
    """Stands in for `find_works`: this work for every dry run that is asked for, and none for what is not."""

    def find(subjects: Sequence[Subject], keys: Sequence[Sequence[WorkKey]], _devices: Devices) -> list[Works]:
        assert len(subjects) == len(keys)
        return [dict.fromkeys(group, work) for group in keys]

    return find


def planned(what: Subject, hardware: Hardware, wish: Wish = Wish()) -> Plan:  # noqa: B008 - a frozen value
    """The plan for a machine that is not this one."""
    return make_plan(what, Machine(hardware, is_here=False), wish)


def summary(found: Plan) -> Summary:
    """What a user sees of a plan."""
    layers = {share.device: share.layers for share in found.layout.shares}
    return found.quant, found.context, found.kv_type, found.fits, layers


def used(found: Plan, name: str = HOST) -> int:
    """Bytes of one memory in a plan."""
    return next(part.use.total_bytes for part in found.predicted if part.use.name == name)
