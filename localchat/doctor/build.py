"""llama.cpp: is it there, does it load, and does it use what this machine has?"""

from __future__ import annotations

from localchat.doctor.finding import Finding
from localchat.errors import LocalchatError
from localchat.llama import computing
from localchat.llama.devices import ask_build
from localchat.llama.importing import check_import
from localchat.llama.libraries import (
    BELOW,
    LOWEST,
    PACKAGE,
    install_command,
    is_supported,
    package_version,
    reinstall_command,
)
from localchat.plan.hardware import Hardware
from localchat.text import size

FAST = ("avx2", "avx512", "avx_vnni", "avx512_vnni", "amx_int8", "neon", "dotprod", "matmul_int8", "sve", "sme")


def check_version() -> list[Finding]:
    """Is llama-cpp-python installed, in a version that this localchat was written for?"""
    version, name = package_version(), PACKAGE
    if not version:
        return [Finding(name, "broken", f"{PACKAGE} is not installed", install_command())]
    if not is_supported(version):
        sentence = f"version {version} is installed, and localchat needs {LOWEST} or later, below {BELOW}"
        return [Finding(name, "broken", sentence, install_command())]
    return [Finding(name, "ok", f"version {version} is installed")]


def check_libraries() -> list[Finding]:
    """Do its shared libraries load?"""
    try:
        check_import()
    except LocalchatError as error:
        is_alone = "ModuleNotFoundError" in str(error)  # a package that it needs is gone, and it itself is there
        fix = install_command() if is_alone or not package_version() else reinstall_command()
        return [Finding("libraries", "broken", f"llama.cpp does not load: {error}", fix)]
    return [Finding("libraries", "ok", "llama.cpp loads")]


def check_products() -> list[Finding]:
    """Does it compute what it should?"""
    try:
        computing.check_products()
    except LocalchatError as error:
        sentence = f"llama.cpp loads, but does not compute on this processor: {error}"
        return [Finding("arithmetic", "broken", sentence, reinstall_command())]
    return [Finding("arithmetic", "ok", "llama.cpp computes what it should")]


def check_backend() -> list[Finding]:
    """What was it built for?"""
    try:
        built = ask_build()
    except LocalchatError as error:
        return [Finding("backend", "broken", f"llama.cpp cannot say what it runs on: {error}", reinstall_command())]
    features = [name for name in built.features if name in FAST]
    with_features = f", which uses {', '.join(features)} here" if features else ""
    return [Finding("backend", "ok", f"llama.cpp is built for {', '.join(built.backends)}{with_features}")]


def check_gpus(hardware: Hardware) -> list[Finding]:
    """Which GPUs are used, and which are there and lie idle?"""
    used = [
        Finding(
            device.name,
            "ok",
            f"{device.description} is used: {size(device.free_bytes)} of {size(device.total_bytes)} are free",
        )
        for device in hardware.devices
    ]
    idle = [
        Finding("GPU", "note", f"{gpu.name} is there and this build of llama.cpp does not use it", gpu.fix)
        for gpu in hardware.unused_gpus
    ]
    return [*used, *idle] or [Finding("GPU", "ok", "no GPU was found; the processor does all the work")]
