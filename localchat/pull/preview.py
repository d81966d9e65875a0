"""What a plan needs of a source, with as little as possible read of it: never a weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localchat import library
from localchat.convert.config import parse_config
from localchat.convert.recipe import file_type
from localchat.gguf_file import read_header
from localchat.plan.facts import subject_of
from localchat.plan.plan import Plan
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.pull.cached import repo_or_cached
from localchat.pull.decide import subject_for, types_for
from localchat.pull.gguf_choice import Reader, subject_of_files, subject_of_variants, type_of, understood
from localchat.pull.gguf_parts import joined, parts_beside
from localchat.pull.gguf_repo import headers_folder, is_of_files, offered_by
from localchat.pull.hub import Repo
from localchat.pull.parts import Parts, parts_of_folder, parts_of_repo
from localchat.pull.source import Folder, ModelFilePath, Source, parse, with_type


@dataclass(frozen=True, slots=True)
class Preview:
    """A model that may not be here yet."""

    name: str
    subject: Subject
    checkpoint_bytes: int = 0
    """Of the weights that would be downloaded to make a model file."""
    file_sha256: str = ""
    """Of the model file, where it is installed."""
    is_made: bool = False
    """Would a model file be written?"""
    is_published: bool = False
    """Would a model file be downloaded as it is?"""

    def download_bytes(self, chosen: Plan) -> int:
        """What its installation would download."""
        return chosen.weights_bytes if self.is_published else self.checkpoint_bytes

    def disk_bytes(self, chosen: Plan) -> int:
        """What its installation would write."""
        return chosen.weights_bytes if self.is_made or self.is_published else 0


@contextmanager
def preview(text: str, revision: str | None, base: str | None, wish: Wish) -> Iterator[Preview]:
    """What an installed model or a source is; what was downloaded to say so goes when the context ends.

    Raises LocalchatError where there is no such model or source.
    """
    installed = {model.name: model for model in library.installed()}
    if text in installed:
        model = installed[text]
        yield Preview(text, subject_of(read_header(model.path)), file_sha256=model.receipt.file_sha256)
        return
    source = parse(text, revision)
    if isinstance(source.place, ModelFilePath):
        yield _of_file(source, source.place.path)
    elif source.entry and source.entry.config and not revision:
        subject = subject_for(parse_config(source.entry.config), _types(source, wish))
        yield Preview(source.name, subject, source.entry.download_bytes, is_made=True)
    elif isinstance(source.place, Folder):
        yield from _of_parts(source, parts_of_folder(source.place.path, base), wish)
    elif is_of_files(source, repo := repo_or_cached(source.place.repo, source.place.revision)[0]):
        yield from _of_files(source, repo, wish)
    else:
        yield from _of_parts(source, parts_of_repo(repo, base), wish)


def _types(source: Source, wish: Wish) -> list[str]:
    """The types that a plan chooses from: where the source names one, it alone. Raises LocalchatError."""
    named = with_type(source, wish).quant
    return [file_type(named)] if named and named != wish.quant else types_for(wish)


def _of_file(source: Source, path: Path) -> Preview:
    if parts := parts_beside(path):
        return Preview(source.name, subject_of_files({type_of(parts): joined(parts)}), is_made=True)
    return Preview(source.name, subject_of(read_header(path)))


def _of_parts(source: Source, parts: Parts, wish: Wish) -> Iterator[Preview]:
    try:
        subject = subject_for(parts.config(), _types(source, wish))
        yield Preview(source.name, subject, parts.missing_bytes(*parts.begun[:1]), is_made=True)
    finally:
        if parts.repos and parts.is_untouched:
            parts.discard()


def _of_files(source: Source, repo: Repo, wish: Wish) -> Iterator[Preview]:
    offered = offered_by(source, repo)
    with headers_folder() as folder:
        asked = understood(with_type(source, wish), offered)
        subject, _ = subject_of_variants(repo, offered, asked, Reader(repo, Path(folder)))
        yield Preview(source.name, subject, is_published=True)
