"""The folders that a model is made from: its checkpoint, and the base that an adapter is merged into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from localchat.convert.adapter import read_adapter
from localchat.convert.checkpoint import config_of
from localchat.convert.config import Config
from localchat.convert.small_files import file_names
from localchat.convert.weight_set import choose
from localchat.errors import LocalchatError
from localchat.pull.cached import repo_or_cached, wrong_file
from localchat.pull.download import (
    download_small,
    download_weights,
    downloaded_bytes,
    is_from_cache,
    missing_bytes,
    uncached_bytes,
)
from localchat.pull.events import Progress
from localchat.pull.hub import Repo
from localchat.pull.keeping import keep
from localchat.pull.source import REPO, existing_path
from localchat.pull.unfinished import alone_in, begun_in, discard_folder


@dataclass(frozen=True, slots=True)
class Parts:
    """Folders on this disk, and which repositories still have to fill them with weights."""

    folder: Path
    base: Path | None = None
    repos: tuple[tuple[Repo, Path], ...] = ()
    kept_as: str = ""
    """The revision by which the checkpoint is kept in the Hub's cache; empty where it is not."""

    def missing_bytes(self, begun: str = "") -> int:
        """Bytes of weights that must be downloaded, where the model file of this name was begun."""
        if self.kept_as:
            return sum(uncached_bytes(repo, folder) for repo, folder in self.repos)
        return max(0, sum(missing_bytes(repo, folder) for repo, folder in self.repos) - self._used.get(begun, 0))

    @property
    def source_bytes(self) -> int:
        """Bytes of all weights that a model file is made from, wherever they are. Raises LocalchatError."""
        away = {folder: self._weights_bytes(repo, folder) for repo, folder in self.repos}
        here = [folder for folder in (self.folder, self.base) if folder is not None and folder not in away]
        names = {folder: choose(file_names(folder), folder).files for folder in here if read_adapter(folder) is None}
        return sum(away.values()) + sum((folder / name).stat().st_size for folder in names for name in names[folder])

    @property
    def is_untouched(self) -> bool:
        """Is none of the weights downloaded or used up yet?"""
        return not any(self._used.values()) and not sum(downloaded_bytes(repo, folder) for repo, folder in self.repos)

    @property
    def is_from_cache(self) -> bool:
        """Are all weights in the Hub's cache?"""
        return bool(self.repos) and all(is_from_cache(repo, folder) for repo, folder in self.repos)

    @property
    def can_arrive(self) -> bool:
        """Are there weights that are not here yet, nothing of them?"""
        whole = [(repo, folder) for repo, folder in self.repos if not repo.is_adapter and not self.kept_as]
        return bool(whole) and all(
            missing_bytes(repo, folder) == self._weights_bytes(repo, folder) for repo, folder in whole
        )

    @property
    def workshop(self) -> Path | None:
        """Where what is unfinished is kept; None where all is here already."""
        return self.repos[0][1] if self.repos else None

    @property
    def begun(self) -> list[str]:
        """Names of the model files that were begun and can be gone on with."""
        return list(self._used)

    @property
    def _used(self) -> dict[str, int]:
        return {name: count for _, folder in self.repos for name, count in begun_in(folder)}

    @staticmethod
    def _weights_bytes(repo: Repo, folder: Path) -> int:
        return sum(file.bytes for file in repo.weights(folder))

    def config(self) -> Config:
        """The shape of the model. Raises LocalchatError where it is missing or not supported."""
        return config_of(self.base or self.folder)

    def download(self) -> Iterator[Progress]:
        """Fetch the weights of every repository."""
        for repo, folder in self.repos:
            if self.kept_as:
                yield from keep(repo, folder, self.kept_as if folder == self.folder else "main")
            else:
                yield from download_weights(repo, folder)

    def download_adapters(self) -> Iterator[Progress]:
        """Fetch the weights of adapters, which are small."""
        for repo, folder in self.repos:
            if repo.is_adapter:
                yield from download_weights(repo, folder)

    def check(self, hashes: Mapping[str, str]) -> None:
        """Compare what was read of each file of weights with what the Hub says. Raises LocalchatError."""
        for repo, folder in self.repos:
            for file in repo.weights(folder):
                if file.sha256 and hashes.get(file.name, file.sha256) != file.sha256:
                    raise wrong_file(folder / file.name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works with these repositories meanwhile. Raises LocalchatError where somebody does."""
        with ExitStack() as locks:
            for _, folder in self.repos:
                locks.enter_context(alone_in(folder))
            yield

    def discard(self) -> None:
        """Throw away what was downloaded, unless somebody works with it."""
        for _, folder in self.repos:
            discard_folder(folder)


def parts_of_folder(folder: Path, base: str | None) -> Parts:
    """The parts of a checkpoint folder. Raises LocalchatError where an adapter's base cannot be found."""
    adapter = read_adapter(folder)
    if adapter is None:
        return Parts(folder)
    if base is None and adapter.base and (beside := existing_path(str(folder / adapter.base))) is not None:
        return Parts(folder, beside)
    return _with_base(Parts(folder), base or adapter.base, may_be_folder=True)


def parts_of_repo(repo: Repo, base: str | None) -> Parts:
    """The parts of a repository, with everything downloaded but the weights. Raises LocalchatError."""
    repo.weights()  # a repository without any says so before anything is fetched
    folder = download_small(repo)
    parts = Parts(folder, repos=((repo, folder),))
    adapter = read_adapter(folder) if repo.is_adapter else None
    if adapter is None:
        return parts
    # What somebody on the Hub wrote does not get to choose among the folders of this disk.
    return _with_base(parts, base or adapter.base, may_be_folder=base is not None)


def _with_base(parts: Parts, base: str, may_be_folder: bool) -> Parts:
    path = existing_path(base) if may_be_folder else None
    if path is not None and path.is_dir():
        return Parts(parts.folder, path, parts.repos)
    if not REPO.fullmatch(base):
        what = f"the adapter's base {base[:80]} is not here" if base else "the adapter does not say what its base is"
        raise LocalchatError(what, "give its folder or repository with --base")
    repo, _ = repo_or_cached(base, "main")
    repo.weights()
    folder = download_small(repo)
    return Parts(parts.folder, folder, (*parts.repos, (repo, folder)))
