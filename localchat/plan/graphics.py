"""GPUs that a machine has, whatever llama.cpp was built for: names and makers, found without their libraries."""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localchat.plan.system_files import read, whole
from localchat.text import one_line

Maker = Literal["NVIDIA", "AMD", "Intel", "Apple"]
MAKERS: dict[str, Maker] = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}  # PCI vendor ids
CARD = re.compile(r"card[0-9]+")
# Graphics inside AMD's processors take a small part of the main memory as their own; a card has more than this.
CARD_BYTES = 3 << 29
NVML_LIBRARIES = {"win32": "nvml.dll", "linux": "libnvidia-ml.so.1"}
NVML_NAME_BYTES, NVML_GPUS_LIMIT = 96, 64


@dataclass(frozen=True, slots=True)
class Graphics:
    """One GPU of the machine."""

    name: str
    maker: Maker
    is_integrated: bool = False
    """Is it part of the processor, with no memory of its own?"""


def graphics(root: Path = Path("/")) -> list[Graphics]:
    """All GPUs that can be found; those of NVIDIA as its driver names them, which /sys does not."""
    cards = list(pci_cards(root))
    named = nvidia_names(root) or nvml_names()
    if named:
        others = [card for card in cards if card.maker != "NVIDIA"]
        cards = [*(Graphics(name, "NVIDIA") for name in named), *others]
    return [*apple(), *cards]


def apple() -> list[Graphics]:
    """The GPU of an Apple processor."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return [Graphics("Apple GPU", "Apple")]
    return []


def pci_cards(root: Path = Path("/")) -> Iterator[Graphics]:
    """Graphics cards of the makers we know, from Linux's /sys."""
    folders = (root / "sys/class/drm").glob("card*")
    for folder in sorted(folder / "device" for folder in folders if CARD.fullmatch(folder.name)):
        maker = MAKERS.get(read(folder / "vendor").strip().lower())
        if maker:
            number = one_line(read(folder / "device"), 10)
            name = one_line(read(folder / "product_name")) or f"{maker} GPU {number}".strip()
            yield Graphics(name, maker, _is_integrated(maker, folder))


def _is_integrated(maker: Maker, folder: Path) -> bool:
    """Is it part of the processor? Where nothing is known, Intel's are and AMD's are not."""
    if maker == "Intel":
        return folder.resolve().name.split(":")[1:2] in ([], ["00"])  # a card has a bus of its own
    memory = whole(read(folder / "mem_info_vram_total"))
    return maker == "AMD" and memory is not None and memory < CARD_BYTES


def nvidia_names(root: Path = Path("/")) -> list[str]:
    """Names of NVIDIA's GPUs from its driver's files on Linux."""
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line.partition(":") for file in files for line in read(file).splitlines()]
    return [one_line(value) for key, _, value in lines if key.strip() == "Model"]


def nvml_names(library: str = "") -> list[str]:
    """The same from NVIDIA's management library, which Windows and WSL have; none where it is missing or fails."""
    name = library or NVML_LIBRARIES.get(sys.platform, "")
    if not name:
        return []
    try:
        nvml = ctypes.CDLL(name)
        return list(_nvml_names(nvml)) if nvml.nvmlInit_v2() == 0 else []
    except (OSError, AttributeError):
        return []


def _nvml_names(nvml: ctypes.CDLL) -> Iterator[str]:
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return
    for index in range(min(count.value, NVML_GPUS_LIMIT)):
        handle, name = ctypes.c_void_p(), ctypes.create_string_buffer(NVML_NAME_BYTES)
        has_handle = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == 0
        if has_handle and nvml.nvmlDeviceGetName(handle, name, ctypes.c_uint(NVML_NAME_BYTES)) == 0:
            yield one_line(name.value.decode("utf-8", "replace"))
    nvml.nvmlShutdown()
