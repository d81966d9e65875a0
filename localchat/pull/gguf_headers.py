"""Headers of model files on the Hub: only they are fetched, into files that are as long as the real ones and empty."""

from __future__ import annotations

from pathlib import Path

from localchat.errors import BadFile
from localchat.files import disk_error, make_hollow
from localchat.gguf_file import HEADER_LIMIT_BYTES, ModelFile, read_header
from localchat.pull.hub import RemoteFile, Repo
from localchat.pull.ranges import read

FIRST_BYTES = 1 << 20  # the header of most models with 32,000 tokens
GROWTH = 4
SPARE_BYTES = 64 << 10  # headers of files that were made of one model differ by a few bytes


def remote_header(repo: Repo, file: RemoteFile, folder: Path, first_bytes: int = FIRST_BYTES) -> ModelFile:
    """The header of a file on the Hub, whose path is that of a file in the folder with nothing but it.

    `first_bytes` is how much is asked for at once, where its length can be guessed.
    Raises BadFile where it is not sound, LocalchatError where the network, the Hub or the disk refuses.
    """
    path = folder / (file.sha256 or "") / file.name.rpartition("/")[2]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_hollow(path, file.bytes)
        with path.open("r+b") as out:
            have, wanted = 0, min(first_bytes, file.bytes)
            while True:
                out.seek(have)
                out.write(read(repo, file, have, wanted))
                out.flush()
                have = wanted
                if (found := _whole(path, have, file)) is not None:
                    return found
                wanted = min(GROWTH * have, HEADER_LIMIT_BYTES, file.bytes)
    except OSError as error:
        raise disk_error(error, path) from error


def _whole(path: Path, have: int, file: RemoteFile) -> ModelFile | None:
    """The header if all of it is there; what comes after is zeros. Raises BadFile where more would not help."""
    try:
        found = read_header(path)
    except BadFile:
        if have >= min(file.bytes, HEADER_LIMIT_BYTES):
            raise
        return None
    return found if found.data_offset <= have else None
