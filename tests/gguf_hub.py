"""Repositories with model files only, on a Hub on loopback; and model files cut into parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import GGUFValueType as Kind
from pull_hub import TrickyHub

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.header import Encoded, Metadata, TensorEntry, aligned, encode
from localchat.convert.layout import layout
from localchat.convert.write import write
from localchat.gguf_file import ModelFile, Tensor, read_header
from localchat.library import Installed
from localchat.paths import models_folder
from localchat.plan.here import this_machine
from localchat.plan.wish import Wish
from localchat.pull.events import PullEvent, Ready
from localchat.pull.gguf_repo import pull_gguf_repo
from localchat.pull.hub import read_repo
from localchat.pull.source import HubRepo, parse

REPO = "acme/tiny-GGUF"


def made(checkpoint: Path, quant: str, path: Path) -> Path:
    """The checkpoint as a model file of this type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in write(layout(read_checkpoint(checkpoint, "tiny"), quant), path, threads=2):
        pass
    return path


def split(path: Path, folder: Path, name: str, cuts: Sequence[int], **changes: Any) -> list[Path]:
    """The model file in parts: part i has the tensors from the last cut to `cuts[i]`, the first all facts besides."""
    model, parts, starts = read_header(path), [], [0, *cuts]
    folder.mkdir(parents=True, exist_ok=True)
    for number, (first, last) in enumerate(zip(starts, [*cuts, len(model.tensors)], strict=True)):
        facts = {**(_facts(model) if number == 0 else {}), **_split_facts(number, len(starts), len(model.tensors))}
        part = folder / f"{name}-{number + 1:05}-of-{len(starts):05}.gguf"
        part.write_bytes(_part(model, model.tensors[first:last], {**facts, **changes}))
        parts.append(part)
    return parts


def _facts(model: ModelFile) -> dict[str, Encoded]:
    data = model.path.read_bytes()
    return {key: Encoded(data[start:end]) for key, (start, end) in model.spans.items()}


def _split_facts(number: int, count: int, tensors: int) -> Metadata:
    return {
        "split.no": (Kind.UINT32, number), "split.count": (Kind.UINT32, count),
        "split.tensors.count": (Kind.INT32, tensors),
    }  # fmt: skip


def _part(model: ModelFile, tensors: Sequence[Tensor], facts: Metadata) -> bytes:
    data, entries, offset = model.path.read_bytes(), [], 0
    body = b""
    for tensor in tensors:
        start = model.data_offset + tensor.offset
        entries.append(TensorEntry(tensor.name, tensor.type, tensor.dimensions[::-1], offset))
        body += data[start : start + tensor.bytes].ljust(aligned(tensor.bytes), b"\0")
        offset = len(body)
    return encode(facts, entries) + body


@contextmanager
def serving(root: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[TrickyHub]:
    """The Hub of a folder, which the client then asks."""
    with TrickyHub(root, **options) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def events(text: str = REPO, wish: Wish | None = None, name: str = "") -> Iterator[PullEvent]:
    """The pull of a repository with model files only."""
    source = parse(text)
    assert isinstance(source.place, HubRepo)
    repo = read_repo(source.place.repo, source.place.revision)
    source = replace(source, name=name) if name else source
    return pull_gguf_repo(source, repo, wish or Wish(threads=2), this_machine(models_folder()))


def pulled(text: str = REPO, wish: Wish | None = None, name: str = "") -> Installed:
    """The model that it installs."""
    *_, ready = events(text, wish, name)
    assert isinstance(ready, Ready)
    return ready.model
