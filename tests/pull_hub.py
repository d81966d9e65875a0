"""A Hub on loopback that publishes the small checkpoint, for everything that pulls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from local_answers import Answer, Asked
from local_hub import LocalHub

REPO = "acme/tiny"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


class TrickyHub(LocalHub):
    """Says of a repository what it was told to say besides the truth."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **options)
        self.extra_names: list[str] = []
        self.other_commit = ""

    def answer(self, asked: Asked) -> Answer:
        given = super().answer(asked)
        if self.other_commit and "X-Repo-Commit" in given.headers:
            return replace(given, headers={**given.headers, "X-Repo-Commit": self.other_commit})
        if not self.extra_names or "/api/models/" not in asked.path or not isinstance(given.body, bytes):
            return given
        facts = json.loads(given.body)
        facts["siblings"] += [{"rfilename": name, "size": 3, "blobId": "0" * 40} for name in self.extra_names]
        return replace(given, body=json.dumps(facts).encode())


@contextmanager
def publishing(
    root: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, repo: str = REPO, **options: Any
) -> Iterator[TrickyHub]:
    """A Hub with the checkpoint as one repository, which the client then asks."""
    folder = root / repo
    folder.mkdir(parents=True)
    for file in checkpoint.iterdir():
        (folder / file.name).symlink_to(file)
    with TrickyHub(root, **options) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def change(root: Path, repo: str, name: str, content: bytes) -> None:
    """Publish another content of a file, and thereby a new commit."""
    path = root / repo / name
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def ranges(hub: LocalHub) -> list[str | None]:
    """What was asked of each large file, in order."""
    return [served.range for served in hub.requests if served.path.startswith("/cdn/") and served.method == "GET"]
