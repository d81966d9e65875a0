"""llama.cpp's shared libraries as llama-cpp-python installs them, found without importing that package."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from localchat.errors import LocalchatError
from localchat.text import one_line

PACKAGE = "llama-cpp-python"
LOWEST, BELOW = "0.3.36", "0.4"  # the range of pyproject.toml
# Where the runtimes of GPUs keep their DLLs: Windows looks there only when it is told to.
RUNTIMES = ("CUDA_PATH", "HIP_PATH")

GPU_FLAGS = {
    "cuda": "-DGGML_CUDA=ON", "hip": "-DGGML_HIP=ON", "vulkan": "-DGGML_VULKAN=ON", "metal": "-DGGML_METAL=ON",
    "sycl": "-DGGML_SYCL=ON",
}  # fmt: skip
FLAGS = {**GPU_FLAGS, "rpc": "-DGGML_RPC=ON"}

# What the compiler is told where the processor has AMX: GCC leaves out what configures its tiles in llama.cpp (pull
# request 26954 there), and the first prompt ends the process.
CPU_FACTS = Path("/proc/cpuinfo")
NO_AMX = ("-DCMAKE_C_FLAGS=-mno-amx-int8", "-DCMAKE_CXX_FLAGS=-mno-amx-int8")

Signatures = Mapping[str, tuple[Any, Sequence[Any]]]


def package_version() -> str:
    """The version of llama-cpp-python that is installed; empty where none is."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return ""


def is_supported(version: str) -> bool:
    """Is it a version that localchat was written for?"""
    return _numbers(LOWEST) <= _numbers(version) < _numbers(BELOW)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("+")[0].split(".")
    return tuple(int(part) if part.isascii() and part.isdigit() else -1 for part in parts)


def install_command() -> str:
    """What to type to get llama-cpp-python, in a version that is supported, and what it needs itself."""
    return _with_flags(_compiler_flags(), f'{_pip()} install "{PACKAGE}>={LOWEST},<{BELOW}"')


def reinstall_command(flag: str = "") -> str:
    """What to type to build the same llama-cpp-python anew, with a flag of CMake such as -DGGML_CUDA=ON.

    What it was built for stays, but that a flag for one kind of GPU takes the place of another one.
    """
    is_for_gpu = flag in GPU_FLAGS.values()
    kept = [old for old in _flags() if old != flag and not (is_for_gpu and old in GPU_FLAGS.values())]
    flags = [*_compiler_flags(), *kept, *([flag] if flag else [])]
    version = package_version()
    package = f"{PACKAGE}=={version}" if is_supported(version) else f'"{PACKAGE}>={LOWEST},<{BELOW}"'
    return _with_flags(flags, f"{_pip()} install --force-reinstall --no-cache-dir --no-deps {package}")


def _with_flags(flags: Sequence[str], install: str) -> str:
    if not flags:
        return install
    given = " ".join(flags)
    return f'$env:CMAKE_ARGS="{given}"; {install}' if sys.platform == "win32" else f'CMAKE_ARGS="{given}" {install}'


def _compiler_flags() -> Sequence[str]:
    """What the processor of this machine makes necessary; Linux alone lets programs use AMX."""
    try:
        return NO_AMX if " amx_int8" in CPU_FACTS.read_text("utf-8", "replace") else ()
    except OSError:
        return ()


def _pip() -> str:
    """The pip of the environment that this program runs in; the one on the path may be another's."""
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    call = "& " if sys.platform == "win32" and python.startswith('"') else ""  # as PowerShell wants it
    return f"{call}{python} -m pip"


def _flags() -> list[str]:
    """What llama.cpp was built for, by the libraries that lie there."""
    spec = importlib.util.find_spec("llama_cpp")
    folders = [Path(place) / "lib" for place in (spec and spec.submodule_search_locations) or ()]
    names = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return [flag for kind, flag in FLAGS.items() if any(f"ggml-{kind}." in name for name in names)]


def library_folder() -> Path:
    """The folder of llama.cpp's shared libraries inside llama-cpp-python, found without importing it."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        raise LocalchatError("llama-cpp-python is not installed", f"run: {install_command()}")
    return Path(spec.submodule_search_locations[0]) / "lib"


def load_library(name: str) -> ctypes.CDLL:
    """One of llama.cpp's shared libraries, such as `ggml-base`. Raises LocalchatError where it cannot be loaded."""
    names = {"win32": [f"{name}.dll", f"lib{name}.dll"], "darwin": [f"lib{name}.dylib"]}
    folder = library_folder()
    for candidate in names.get(sys.platform, [f"lib{name}.so"]):
        if (folder / candidate).exists():
            return _loaded(folder / candidate)
    raise LocalchatError(f"llama-cpp-python has no {name} library in {folder}", f"run: {reinstall_command()}")


def _loaded(path: Path) -> ctypes.CDLL:
    if sys.platform == "win32":
        for folder in [Path(os.environ[name]) / "bin" for name in RUNTIMES if name in os.environ]:
            if folder.is_dir():
                os.add_dll_directory(str(folder))
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise LocalchatError(
            f"llama.cpp's library {path.name} cannot be loaded: {one_line(str(error))}", f"run: {reinstall_command()}"
        ) from error


def ggml(signatures: Signatures) -> SimpleNamespace:
    """Functions of ggml by name, with the type of their result and those of their arguments.

    They are looked for through libllama, in the libraries that it has loaded: these lie there under several names, and
    by another one they would be loaded again, with a list of devices of their own. Windows has one name for each, and
    looks in no other library. Raises LocalchatError where one cannot be loaded or has not what is asked for.
    """
    libraries = [load_library(name) for name in (("ggml", "ggml-base") if sys.platform == "win32" else ("llama",))]
    found = SimpleNamespace()
    for name, (result, arguments) in signatures.items():
        owner = next((library for library in libraries if hasattr(library, name)), None)
        if owner is None:
            raise LocalchatError(f"this build of llama.cpp has no function {name}", f"run: {reinstall_command()}")
        function = getattr(owner, name)
        function.restype, function.argtypes = result, list(arguments)
        setattr(found, name, function)
    return found
