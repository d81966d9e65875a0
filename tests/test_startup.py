"""What the first screen and the help do not wait for: code that is needed only when something is done."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "numpy", "gguf", "llama_cpp", "huggingface_hub", "httpx2", "tokenizers", "jinja2", "fastapi", "uvicorn", "pydantic",
}  # fmt: skip


@pytest.mark.parametrize(
    ("program", "more"),
    [("import localchat.cli", {"textual", "rich", "sqlite3"}), ("import localchat.tui.app", set[str]())],
)
def test_what_takes_long_to_load_is_loaded_when_it_is_needed(program: str, more: set[str]) -> None:
    told = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(told.stdout.split())
    assert "localchat" in loaded
    assert not loaded & (HEAVY | more)
