"""All checks in the order in which their failures explain each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from localchat import paths
from localchat.doctor.build import check_backend, check_gpus, check_libraries, check_products, check_version
from localchat.doctor.files import check_downloads, check_history, check_home, check_models, check_settings
from localchat.doctor.finding import Finding
from localchat.doctor.kernels import check_kernels
from localchat.doctor.machine import check_disk, check_memory, check_power
from localchat.doctor.terminal import check_terminal
from localchat.doctor.trial import check_answers
from localchat.errors import LocalchatError
from localchat.plan.detect import detect
from localchat.plan.unused import unset_command
from localchat.text import one_line

Check = Callable[[], list[Finding]]


def examine() -> list[Finding]:
    """Look at everything. Raises nothing: a check that cannot be made is a finding itself."""
    return [finding for name, check in _checks() for finding in _findings(name, check)]


def _checks() -> Iterator[tuple[str, Check]]:
    yield from (("llama-cpp-python", check_version), ("libraries", check_libraries), ("backend", check_backend))
    yield from (("arithmetic", check_products), ("quantizers", check_kernels))
    try:
        home = paths.home()
    except LocalchatError as error:
        sentence = str(error)
        yield "home", lambda: [Finding("home", "broken", sentence, unset_command(["LOCALCHAT_HOME"]))]
        return
    yield "machine", lambda: _machine(home)
    yield "home", lambda: check_home(home)
    yield "history", lambda: check_history(home / "history.db")
    yield "settings", lambda: check_settings(home / "config.toml")
    yield "models", lambda: check_models(home)
    yield "downloads", lambda: check_downloads(home / "downloads")
    yield "terminal", check_terminal


def _machine(home: Path) -> list[Finding]:
    hardware = detect(home)
    checks: list[Check] = [
        lambda: check_gpus(hardware),
        lambda: check_answers(hardware),
        lambda: check_memory(hardware),
        lambda: check_disk(hardware, home),
        lambda: check_power(hardware),
    ]
    return [finding for check in checks for finding in check()]


def _findings(name: str, check: Check) -> list[Finding]:
    try:
        return check()
    except (LocalchatError, OSError, ValueError) as error:
        hint = f"; {error.hint}" if isinstance(error, LocalchatError) else ""
        return [Finding(name, "broken", one_line(f"this could not be looked at: {error}{hint}", 400))]
