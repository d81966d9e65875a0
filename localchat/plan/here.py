"""This machine, to plan for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from localchat.llama.placement import HOST
from localchat.plan.bandwidth import rates
from localchat.plan.detect import detect
from localchat.plan.make import Machine


def this_machine(folder: Path, *, rpc: Sequence[str] = (), measure: bool = False) -> Machine:
    """This machine as it is now; `folder` is where models are kept.

    With `measure`, the rates of its memories are found out where they are not known, about two seconds for each.
    Raises LocalchatError where an RPC server cannot be had.
    """
    hardware = detect(folder, rpc=rpc)
    processor = hardware.processor
    found = rates(hardware.devices, processor.performance_cores, processor.name, measure=measure, rpc=rpc)
    best = {name: one.best for name, one in found.items()}
    devices = tuple(
        replace(device, memory_bandwidth_bytes_per_second=best.get(device.name)) for device in hardware.devices
    )
    hardware = replace(hardware, devices=devices, memory_bandwidth_bytes_per_second=best.get(HOST))
    return Machine(hardware, rpc=tuple(rpc), rates=found)
