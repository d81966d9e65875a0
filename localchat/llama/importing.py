"""Can llama-cpp-python be imported, and do its shared libraries load? Tried in a child process that may crash.

Run as `python -m localchat.llama.importing`.
"""

from __future__ import annotations

import importlib
from typing import Any

from localchat.child import answer, ask
from localchat.llama.libraries import load_library

TIMEOUT_SECONDS = 60


def check_import() -> None:
    """Raises LocalchatError with the reason where it cannot be used."""
    ask("localchat.llama.importing", {}, TIMEOUT_SECONDS)


def _reply(_question: dict[str, Any]) -> dict[str, Any]:
    for name in ("ggml-base", "ggml", "llama"):
        load_library(name)
    importlib.import_module("llama_cpp")
    return {}


if __name__ == "__main__":
    answer(_reply)
