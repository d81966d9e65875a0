"""Checkpoints that stay: huggingface_hub downloads them into its cache, and they are converted from there."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localchat.errors import LocalchatError
from localchat.files import disk_error
from localchat.pull.cached import cache_folder, in_cache, link_weights
from localchat.pull.events import Progress
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.hub_errors import explained
from localchat.pull.source import endpoint
from localchat.text import one_line

LOOK_SECONDS = 0.2
END_SECONDS = 2.0  # for a download that is stopped to see it


class _Stopped(Exception):
    """Nobody wants the file any more."""


@dataclass(slots=True)
class _Download:
    """A file on its way: what a thread does and this one watches."""

    done_bytes: int = 0
    is_stopped: bool = False
    error: BaseException | None = None

    def run(self, repo: Repo, file: RemoteFile, revision: str) -> None:
        """Download; the error is kept for who asked for it."""
        try:
            with explained(repo.id):
                self._fetch(repo, file, revision)
        except (LocalchatError, OSError, RuntimeError, ValueError, _Stopped) as error:
            self.error = error

    def _fetch(self, repo: Repo, file: RemoteFile, revision: str) -> None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        bar = _counter(self)
        try:
            hf_hub_download(repo.id, file.name, revision=revision, endpoint=endpoint(), tqdm_class=bar)
        except LocalEntryNotFoundError as error:  # it looked into the cache because the Hub did not answer
            raise (error.__cause__ or error) from None


def keep(repo: Repo, folder: Path, asked: str) -> Iterator[Progress]:
    """Bring what the cache lacks of a checkpoint there, and link its weights into the folder. Closed, it stops.

    `asked` is the revision by which others will look for it. A file that was not finished begins anew next time, as
    huggingface_hub has it. Raises LocalchatError where the network, the Hub or the disk refuses.
    """
    weights, here = repo.weights(folder), in_cache(repo)
    total, before = sum(file.bytes for file in weights), 0
    revision = asked  # for the first file: the cache then notes which commit it is
    for file in [*repo.small(), *weights]:
        is_counted = file in weights
        if file.name not in here:
            for done in _fetched(repo, file, revision):
                yield Progress("download", file.name, before + (done if is_counted else 0), total)
        revision, before = repo.commit, before + (file.bytes if is_counted else 0)
        yield Progress("download", file.name, before, total)
    if not link_weights(repo, folder):
        raise LocalchatError(
            f"the checkpoint in {cache_folder()} cannot be linked from {folder}", "leave --keep-checkpoint out"
        )


def nearest_folder() -> Path:
    """The Hub's cache, or the nearest folder above it that there is."""
    folder = cache_folder()
    return next((one for one in (folder, *folder.parents) if one.is_dir()), folder)


def is_elsewhere(folder: Path) -> bool:
    """Is the cache on another disk than the folder?"""
    return nearest_folder().stat().st_dev != folder.stat().st_dev


def _fetched(repo: Repo, file: RemoteFile, revision: str) -> Generator[int]:
    """Download one file; yields how many of its bytes are there, a few times a second."""
    download = _Download()
    thread = threading.Thread(target=download.run, args=(repo, file, revision), name="keeping", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            yield min(download.done_bytes, file.bytes)
    finally:
        download.is_stopped = True
        thread.join(END_SECONDS)
    if download.error is not None:
        raise _meant(download.error) from download.error


def _meant(error: BaseException) -> LocalchatError:
    """What an error of huggingface_hub means."""
    if isinstance(error, LocalchatError):
        return error
    if isinstance(error, OSError):
        return disk_error(error, cache_folder() / "hub")
    return LocalchatError(
        f"the download into the Hub cache failed: {one_line(str(error), 200)}", "leave --keep-checkpoint out"
    )


def _counter(download: _Download) -> Any:
    """A bar for huggingface_hub that shows nothing: it counts, and ends the download once it is not wanted."""
    from huggingface_hub.utils.tqdm import tqdm

    class Counter(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            download.done_bytes += int(n or 0)
            if download.is_stopped:
                raise _Stopped
            return None

    return Counter
