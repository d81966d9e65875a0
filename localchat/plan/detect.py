"""The facts of this machine, found out now."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from localchat.errors import LocalchatError
from localchat.llama.devices import build
from localchat.plan.graphics import graphics
from localchat.plan.hardware import Hardware
from localchat.plan.memory import read_memory
from localchat.plan.processor import read_processor
from localchat.plan.surroundings import has_screen, on_battery, system_name
from localchat.plan.unused import unused


def detect(folder: Path, *, rpc: Sequence[str] = ()) -> Hardware:
    """The facts of this machine now; `folder` is where models are kept, or will be.

    `rpc` names servers of llama.cpp's RPC backend, HOST:PORT, whose devices count as well. Raises LocalchatError where
    those cannot be had, or the disk cannot be read.
    """
    built = build(tuple(rpc))
    return Hardware(
        system=system_name(),
        processor=read_processor(built.features),
        memory=read_memory(),
        disk_free_bytes=disk_space(folder)[1],
        devices=built.devices,
        unused_gpus=unused(graphics(), built, os.environ),
        has_screen=has_screen(),
        on_battery=on_battery(),
    )


def usable_cores() -> int:
    """Physical cores that this process may use: a second thread on one core only gets in llama.cpp's way."""
    return read_processor().performance_cores


def disk_space(folder: Path) -> tuple[int, int]:
    """Total and free bytes of the disk on which a folder lies, or will lie. Raises LocalchatError."""
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), folder)
    try:
        space = shutil.disk_usage(there)
    except OSError as error:
        raise LocalchatError(
            f"the disk of {folder} cannot be read: {error.strerror or error}", "set LOCALCHAT_HOME to another folder"
        ) from error
    return space.total, space.free
