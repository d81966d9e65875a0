"""A file of another app, looked at: what it is, how much of the disk it takes, and why it cannot be adopted."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, fields, replace
from pathlib import Path

from localchat.errors import LocalchatError
from localchat.gguf_file import read_header
from localchat.pull.apps.candidate import Candidate
from localchat.pull.apps.kinds import Kind, kind_of

BLOCK_BYTES = 512  # of st_blocks, on every system that has it
NO_TEMPLATE = "the file has no chat template"


@dataclass(frozen=True, slots=True)
class Found(Candidate):
    """A candidate that was looked at, so that its trouble is also what is wrong with the file."""

    name: str = ""
    """What it is called here once it is adopted."""
    kind: Kind = "damaged"
    bytes: int = 0
    disk_bytes: int = 0
    """What its blocks take; a sparse or compressed file takes less than its size."""
    identity: tuple[int, int] | None = None
    """Device and inode: hard links to one file have the same."""
    quant: str = ""
    architecture: str = ""
    template_source: str | None = None
    adopted_as: str = ""
    same_as: str = ""
    """Name of the one before it that is the same file."""

    @property
    def is_new(self) -> bool:
        """Would its adoption bring a model that is neither here nor named before it?"""
        return not (self.trouble or self.adopted_as or self.same_as)


@dataclass(frozen=True, slots=True)
class Nature:
    """What the header of a file says."""

    kind: Kind = "damaged"
    trouble: str = ""
    quant: str = ""
    architecture: str = ""
    template_source: str | None = None


def look(candidate: Candidate, natures: dict[tuple[int, int], Nature]) -> Found:
    """Read the header of a candidate's file, and nothing where there is no ordinary file. Raises no LocalchatError.

    A file that was read before is in `natures`, and others are put there.
    """
    found = Found(**{known.name: getattr(candidate, known.name) for known in fields(Candidate)})
    found = replace(found, suggestion=candidate.suggestion or candidate.title)
    if candidate.trouble:
        return found
    if not _is_unicode(candidate.path):
        return replace(found, trouble="its path is not Unicode, and could not be written down")
    try:
        facts = candidate.path.stat()
    except OSError as error:
        return replace(found, trouble=_missing(error))
    if not stat.S_ISREG(facts.st_mode):
        return replace(found, trouble="it is no ordinary file")
    blocks, identity = getattr(facts, "st_blocks", None), (facts.st_dev, facts.st_ino)
    if identity not in natures:
        natures[identity] = nature_of(candidate.path)
    nature = natures[identity]
    return replace(
        found, bytes=facts.st_size, disk_bytes=facts.st_size if blocks is None else blocks * BLOCK_BYTES,
        identity=identity, kind=nature.kind, trouble=nature.trouble, quant=nature.quant,
        architecture=nature.architecture, template_source=nature.template_source,
        notes=found.notes if nature.template_source or nature.trouble else (*found.notes, NO_TEMPLATE),
    )  # fmt: skip


def _is_unicode(path: Path) -> bool:
    """Can the path, and the one it leads to, be written to a receipt?"""
    try:
        return bool(f"{path}{os.path.realpath(path)}".encode())
    except UnicodeEncodeError:
        return False


def _missing(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "its file is gone"
    return f"its file cannot be looked at: {error.strerror or error}"


def nature_of(path: Path) -> Nature:
    """What a file is. Raises no LocalchatError."""
    try:
        model = read_header(path)
        kind, trouble = kind_of(model)
    except LocalchatError as error:
        return Nature(trouble=str(error))
    template = "model file" if isinstance(model.metadata.get("tokenizer.chat_template"), str) else None
    return Nature(kind, trouble, model.quant, model.architecture, template)
