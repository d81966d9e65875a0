"""What a plan needs of a source, with as little as possible read of it: never a weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from localchat import library
from localchat.convert.config import parse_config
from localchat.gguf_file import read_header
from localchat.plan.facts import subject_of
from localchat.plan.plan import Plan
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.pull.decide import subject_for, types_for
from localchat.pull.hub import read_repo
from localchat.pull.parts import Parts, parts_of_folder, parts_of_repo
from localchat.pull.source import Folder, HubRepo, ModelFilePath, parse


@dataclass(frozen=True, slots=True)
class Preview:
    """A model that may not be here yet."""

    name: str
    subject: Subject
    download_bytes: int = 0
    file_sha256: str = ""
    """Of the model file, where it is installed."""
    is_made: bool = False
    """Would a model file be written?"""

    def disk_bytes(self, chosen: Plan) -> int:
        """What its installation would write."""
        return chosen.weights_bytes if self.is_made else 0


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
        yield Preview(source.name, subject_of(read_header(source.place.path)))
    elif source.entry and source.entry.config and not revision:
        subject = subject_for(parse_config(source.entry.config), types_for(wish))
        yield Preview(source.name, subject, source.entry.download_bytes, is_made=True)
    else:
        parts = _parts(source.place, base)
        try:
            subject = subject_for(parts.config(), types_for(wish))
            yield Preview(source.name, subject, parts.missing_bytes, is_made=True)
        finally:
            if parts.repos and parts.is_untouched:
                parts.discard()


def _parts(place: Folder | HubRepo, base: str | None) -> Parts:
    if isinstance(place, Folder):
        return parts_of_folder(place.path, base)
    return parts_of_repo(read_repo(place.repo, place.revision), base)
