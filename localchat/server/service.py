"""The server as a service of the user: a unit for systemd, or a property list for launchd."""

from __future__ import annotations

import os
import plistlib
import sys
from collections.abc import Sequence
from pathlib import Path

from localchat.errors import LocalchatError
from localchat.files import write_text
from localchat.paths import home

LABEL = "localchat"


def install(arguments: Sequence[str]) -> tuple[Path, str]:
    """Write the file that starts `localchat serve` with these arguments; returns it and the command that enables it.

    Raises LocalchatError where the system has neither.
    """
    command = [sys.executable, "-m", "localchat", "serve", *arguments]
    if sys.platform == "darwin":
        path = Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        text, enable = launchd(command, home()), f"launchctl load -w '{path}'"
    elif sys.platform.startswith("linux"):
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        path = folder / "systemd" / "user" / f"{LABEL}.service"
        text, enable = systemd(command, home()), f"systemctl --user enable --now {LABEL}"
    else:
        raise LocalchatError("services are installed on Linux and macOS only", "use: localchat serve --background")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path, enable


def systemd(command: Sequence[str], folder: Path) -> str:
    """A unit of a user."""
    words = " ".join(_quoted(word).replace("$", "$$") for word in command)
    return (
        "[Unit]\nDescription=localchat: a local server for language models\n\n"
        f"[Service]\nExecStart={words}\nEnvironment={_quoted(f'LOCALCHAT_HOME={folder}')}\n"
        "Restart=on-failure\nTimeoutStopSec=30\nNoNewPrivileges=true\n\n"
        "[Install]\nWantedBy=default.target\n"
    )


def launchd(command: Sequence[str], folder: Path) -> str:
    """A property list of a user."""
    facts = {
        "Label": LABEL, "ProgramArguments": list(command), "RunAtLoad": True, "KeepAlive": {"SuccessfulExit": False},
        "EnvironmentVariables": {"LOCALCHAT_HOME": str(folder)},
    }  # fmt: skip
    return plistlib.dumps(facts).decode()


def _quoted(word: str) -> str:
    """A word of a unit, with nothing in it that systemd would act on."""
    for sign, meant in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("\n", "\\n")):
        word = word.replace(sign, meant)
    return f'"{word}"'
