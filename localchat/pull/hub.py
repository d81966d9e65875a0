"""The Hub: what a repository holds, what of it is needed, what a refusal means. huggingface_hub does the talking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from localchat.convert.adapter import adapter_file, is_adapter
from localchat.convert.small_files import describes
from localchat.convert.weight_set import choose
from localchat.errors import LocalchatError
from localchat.paths import is_safe_name
from localchat.pull.source import endpoint

# Read by huggingface_hub when it is imported: without it, a first request reports which program calls.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository: those kept in LFS are known by their sha256, others by git's own hash."""

    name: str
    bytes: int
    sha256: str | None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository at one commit."""

    id: str
    commit: str
    files: dict[str, RemoteFile]

    def small(self) -> list[RemoteFile]:
        """What describes the model: config, tokenizer, templates and the indexes of the weights."""
        return [file for name, file in self.files.items() if describes(name)]

    @property
    def is_adapter(self) -> bool:
        """Does it hold an adapter instead of a model?"""
        return is_adapter(self.files)

    def weights(self, folder: Path | None = None) -> list[RemoteFile]:
        """One set of weights; `folder` has the indexes once they are downloaded.

        Raises LocalchatError where the repository has no weights that can be used.
        """
        try:
            names = [adapter_file(self.files)] if self.is_adapter else choose(self.files, folder).files
            return [self.files[name] for name in names]
        except LocalchatError as error:
            raise _without_weights(self) or error from error


def read_repo(repo: str, revision: str) -> Repo:
    """What the Hub says of a repository. Raises LocalchatError for whatever stands in the way."""
    from huggingface_hub import HfApi

    with explained(repo):
        info = HfApi(endpoint=endpoint()).model_info(
            repo, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS
        )
    files = {
        file.rfilename: RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None, file.blob_id)
        for file in info.siblings or []
        if is_safe_name(file.rfilename) or describes(file.rfilename)
    }
    if not info.sha:
        raise LocalchatError(f"the Hub does not say which commit {repo} is at", "try again later")
    return Repo(info.id, info.sha, files)


@contextmanager
def explained(repo: str) -> Iterator[None]:
    """Turns what huggingface_hub and the network raise into one sentence and a next step."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise LocalchatError(
            f"{repo} is gated: its authors want you to accept their terms first",
            f"accept them on {endpoint()}/{repo}, then set HF_TOKEN to a token of your account",
        ) from error
    except RepositoryNotFoundError as error:
        raise LocalchatError(
            f"the Hub has no repository {repo}, or it is private",
            "check the spelling; for a private one set HF_TOKEN",
        ) from error
    except RevisionNotFoundError as error:
        raise LocalchatError(f"{repo} has no such revision", "leave --revision out to get the newest") from error
    except HFValidationError as error:
        raise LocalchatError(f"{repo!r} is not a name of a repository", "it reads owner/repo") from error
    except OfflineModeIsEnabled as error:
        raise LocalchatError(
            "HF_HUB_OFFLINE is set, so the Hub is not asked", "unset it, or pull from a folder"
        ) from error
    except HfHubHTTPError as error:
        raise http_error(error.response.status_code, repo) from error
    except httpx2.HTTPError as error:
        raise offline_error(error) from error


def http_error(status: int, repo: str) -> LocalchatError:
    """What a status of the Hub means."""
    if status == 429:
        return LocalchatError("the Hub asks for a pause: too many requests", "wait some minutes and try again")
    if status in (401, 403):
        return LocalchatError(
            f"the Hub refuses access to {repo} ({status})", "set HF_TOKEN to a token that may read it"
        )
    if status == 404:
        return LocalchatError(f"the Hub did not find what was asked of {repo} (404)", "check the name and try again")
    return LocalchatError(f"the Hub answered with the error {status}", "try again later")


def offline_error(error: Exception) -> LocalchatError:
    """What it means that the Hub could not be reached."""
    kind = "did not answer in time" if isinstance(error, httpx2.TimeoutException) else "cannot be reached"
    return LocalchatError(f"{endpoint()} {kind}", "check the network and try again; what was downloaded is kept")


def _without_weights(repo: Repo) -> LocalchatError | None:
    """A better sentence for repositories that have weights in another format."""
    if any(name.endswith(".gguf") for name in repo.files):
        return LocalchatError(
            f"{repo.id} has its weights only in GGUF files, which cannot be pulled from the Hub yet",
            "look for the repository that they were made from, or download the file and pull that",
        )
    return None
