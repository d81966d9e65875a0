"""llama.cpp's shared libraries as llama-cpp-python installs them, found without importing that package."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

from localchat.errors import LocalchatError


def library_folder() -> Path:
    """The folder of llama.cpp's shared libraries inside llama-cpp-python, found without importing it."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        raise LocalchatError("llama-cpp-python is not installed", "run: pip install llama-cpp-python")
    return Path(spec.submodule_search_locations[0]) / "lib"


def load_library(name: str) -> ctypes.CDLL:
    """One of llama.cpp's shared libraries, such as `ggml-base`. Raises LocalchatError where it cannot be loaded."""
    names = {"win32": [f"{name}.dll", f"lib{name}.dll"], "darwin": [f"lib{name}.dylib"]}
    folder = library_folder()
    for candidate in names.get(sys.platform, [f"lib{name}.so"]):
        if (folder / candidate).exists():
            return ctypes.CDLL(str(folder / candidate))
    raise LocalchatError(
        f"llama-cpp-python has no {name} library in {folder}",
        "reinstall it: pip install --force-reinstall --no-cache-dir llama-cpp-python",
    )
