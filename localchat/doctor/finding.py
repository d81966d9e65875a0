"""What was found out about one part of an installation, and the words of the shell that mend it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "note", "broken"]
"""A `note` costs comfort or speed; what is `broken` keeps localchat from working."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    sentence: str
    fix: str = ""
    """The command that mends it; empty where there is nothing to mend, or no command can."""


def command(*words: str | Path) -> str:
    """A command as the user's shell wants it written."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if sys.platform == "win32" else shlex.join(texts)


def move_aside(path: Path) -> str:
    """The command that keeps a damaged file under another name."""
    return command("move" if sys.platform == "win32" else "mv", path, f"{path}.damaged")
