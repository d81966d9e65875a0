"""The terminal: will the app look as it should?"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Mapping

from localchat.doctor.finding import Finding

COLUMNS, LINES = 80, 24


def check_terminal() -> list[Finding]:
    """Its kind, colors, encoding and size, where there is one."""
    pairs = ((sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__))
    # within the app something that is no real stream stands in the place of each
    real = [given if hasattr(given, "encoding") else original for given, original in pairs]
    streams = [stream for stream in real if stream is not None and stream.isatty()]
    if not streams:
        return [Finding("terminal", "ok", "no terminal is attached, so there is nothing to look at")]
    try:
        columns, lines = os.get_terminal_size(streams[0].fileno())
    except (OSError, ValueError):
        columns, lines = COLUMNS, LINES
    return look(os.environ, streams[0].encoding, columns, lines)


def look(environment: Mapping[str, str], encoding: str, columns: int, lines: int) -> list[Finding]:
    """What these facts mean for the app. A size of 0 is one that the terminal does not tell."""
    kind = environment.get("TERM", "")
    problems = []
    if sys.platform != "win32" and kind in ("", "dumb"):
        problems.append(("the terminal does not say what it is (TERM is unset or dumb)", "export TERM=xterm-256color"))
    elif sys.platform != "win32" and not _has_colors(environment):
        fix = "" if kind == "linux" else "export TERM=xterm-256color"  # the console of Linux has no more
        problems.append((f"TERM={kind} has few colors", fix))
    if not _is_utf8(encoding):
        fix = "chcp 65001" if sys.platform == "win32" else "export LC_ALL=C.UTF-8"
        problems.append((f"the terminal is set to {encoding}, so signs beyond it are lost", fix))
    if 0 < columns < COLUMNS or 0 < lines < LINES:
        sentence = f"the terminal has {columns} columns and {lines} lines; the app wants {COLUMNS} and {LINES}"
        problems.append((sentence, f"printf '\\033[8;{LINES};{COLUMNS}t'"))
    found = [Finding("terminal", "note", sentence, fix) for sentence, fix in problems]
    return found or [Finding("terminal", "ok", f"{columns} columns, {lines} lines, colors and UTF-8")]


def _has_colors(environment: Mapping[str, str]) -> bool:
    """At least 256 of them, by the names that terminals give themselves."""
    kind = environment.get("TERM", "")
    modern = ("256color", "direct", "kitty", "alacritty", "ghostty", "wezterm", "foot")
    return bool(environment.get("COLORTERM")) or any(word in kind for word in modern)


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False
