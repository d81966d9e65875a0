"""A pull that can be watched and killed: each event as a line, the stage and how many bytes of it are done.

    bench_puller.py OWNER/REPO TYPE PIECE     PIECE bytes are asked for at once; 0: as many as in life

or, as PIECE `alone`, a download over as many connections that throws all away: a line for each chunk.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from localchat.plan.wish import Wish
from localchat.pull import outline, segments, streaming
from localchat.pull.arriving import CONNECTIONS
from localchat.pull.events import Chosen, Progress
from localchat.pull.hub import RemoteFile, Repo, read_repo
from localchat.pull.install import pull
from localchat.pull.ranges import stream
from localchat.pull.source import parse

PIECES_AHEAD = 3
HEADER_BYTES = 16 << 10


def main() -> None:
    repo, quant, piece = sys.argv[1:]
    if piece == "alone":
        _alone(read_repo(repo, "main"))
        return
    if int(piece):
        _small_pieces(int(piece))
    with closing(pull(parse(repo), Wish(quant=quant))) as events:
        for event in events:
            match event:
                case Chosen():
                    print("chosen", event.download_bytes, flush=True)
                case Progress(stage, _, done_bytes, _):
                    print(stage, done_bytes, flush=True)


def _small_pieces(piece_bytes: int) -> None:
    """Make of a small checkpoint as many pieces as a large one has."""
    for module, name in ((segments, "PIECE_BYTES"), (streaming, "PIECE_BYTES")):
        setattr(module, name, piece_bytes)
    streaming.WINDOW_BYTES = PIECES_AHEAD * piece_bytes
    outline.FIRST_BYTES = outline.LAST_BYTES = HEADER_BYTES


def _alone(repo: Repo) -> None:
    print("alone 0", flush=True)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(lambda one: _fetch(repo, *one), _pieces(repo)):
            pass


def _pieces(repo: Repo) -> Iterator[tuple[RemoteFile, int, int]]:
    for file in repo.files.values():
        if Path(file.name).suffix in (".safetensors", ".bin"):
            yield from ((file, *ends) for ends in segments.pieces([0, file.bytes]))


def _fetch(repo: Repo, file: RemoteFile, start: int, end: int) -> None:
    for chunk in stream(repo, file, start, end):
        sys.stdout.write(f"alone {len(chunk)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
