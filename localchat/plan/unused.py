"""GPUs that are there and lie idle, with the command that ends it. A pure function of what was found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localchat.llama.devices import Build
from localchat.llama.libraries import GPU_FLAGS, reinstall_command
from localchat.plan.graphics import Graphics
from localchat.plan.hardware import UnusedGpu


@dataclass(frozen=True, slots=True)
class _Way:
    """How llama.cpp can use the GPUs of one maker."""

    backends: tuple[str, ...]
    flag: str
    """Of CMake; for the first of the backends."""
    check: str
    """What to run where llama.cpp was built for it and yet sees nothing: it says what is wrong with the driver."""
    hiding: tuple[str, ...] = ()
    """Variables of the environment that hide GPUs."""


VULKAN = _Way(("Vulkan", "SYCL"), GPU_FLAGS["vulkan"], "vulkaninfo --summary", ("GGML_VK_VISIBLE_DEVICES",))
WAYS = {
    "NVIDIA": _Way(("CUDA", "Vulkan"), GPU_FLAGS["cuda"], "nvidia-smi", ("CUDA_VISIBLE_DEVICES",)),
    "AMD": _Way(
        ("ROCm", "HIP", "Vulkan"), GPU_FLAGS["hip"], "rocminfo", ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
    ),
    "Intel": VULKAN,
    "Apple": _Way(("MTL", "Metal"), GPU_FLAGS["metal"], "system_profiler SPDisplaysDataType"),
}  # fmt: skip


def unused(found: Sequence[Graphics], build: Build, environment: Mapping[str, str]) -> tuple[UnusedGpu, ...]:
    """Those that llama.cpp does not use. Graphics inside the processor do not count beside a GPU that is used."""
    used = {device.backend for device in build.devices}
    has_gpu = any(device.kind == "gpu" and device.backend != "RPC" for device in build.devices)
    idle = [
        graphics
        for graphics in found
        if not used & set(_way(graphics).backends) and not (graphics.is_integrated and has_gpu)
    ]
    return tuple(UnusedGpu(graphics.name, _fix(_way(graphics), build, environment)) for graphics in idle)


def _way(graphics: Graphics) -> _Way:
    if not graphics.is_integrated:
        return WAYS[graphics.maker]
    return _Way((*WAYS[graphics.maker].backends, *VULKAN.backends), VULKAN.flag, VULKAN.check, VULKAN.hiding)


def _fix(way: _Way, build: Build, environment: Mapping[str, str]) -> str:
    """Build llama.cpp for it; where it was, show the GPU to it, or ask the driver."""
    if not set(build.backends) & set(way.backends):
        return reinstall_command(way.flag)
    hidden = [name for name in way.hiding if name in environment]
    return unset_command(hidden) if hidden else way.check


def unset_command(names: Sequence[str]) -> str:
    """What to type to take variables out of the environment."""
    if sys.platform == "win32":
        return "; ".join(f"Remove-Item Env:{name}" for name in names)
    return f"unset {' '.join(names)}"
