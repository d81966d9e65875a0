"""How fast earlier pulls on this machine went, and how long the next one will take by that."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json, write_text
from localchat.paths import measured_folder, models_folder
from localchat.plan.detect import disk_space
from localchat.pull.decide import SPARE_BYTES
from localchat.pull.events import Chosen, Progress, Pull, PullEvent

KEPT = 5  # of each kind: networks and machines change
LEAST_BYTES, LEAST_SECONDS = 32 << 20, 2.0  # what is smaller tells more of how it begins than of how fast it goes
LIMIT = 1e12  # bytes per second: beyond it is no rate
DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a pull will need of time and disk."""

    seconds: float | None
    """All together; None where nothing tells how fast it will be. So for the others."""
    download_seconds: float | None
    convert_seconds: float | None
    free_bytes: int
    """Of the disk that the model goes to."""
    needed_bytes: int
    """Of that disk, until the pull is over."""

    @property
    def has_room(self) -> bool:
        """Is there enough of the disk?"""
        return self.needed_bytes + (SPARE_BYTES if self.needed_bytes else 0) <= self.free_bytes


def outlook(chosen: Chosen) -> Outlook:
    """What this choice will need. Raises LocalchatError where the disk cannot be looked at."""
    is_made, quant = bool(chosen.disk_bytes) and chosen.source_bytes != 0, chosen.plan.quant
    download = _seconds(chosen.download_bytes, DOWNLOAD)
    convert = _seconds(chosen.source_bytes, converting(quant)) if is_made else 0.0
    together = _seconds(chosen.download_bytes, arriving(quant)) if is_made and chosen.download_bytes else None
    if together is None and download is not None and convert is not None:
        together = max(download, convert)  # what is downloaded is converted while it arrives
    needed_bytes = chosen.disk_bytes if is_made else chosen.download_bytes
    return Outlook(together, download, convert, disk_space(models_folder())[1], needed_bytes)


def converting(quant: str) -> str:
    """The kind of rate at which a checkpoint here becomes a file of this type; some types take ten times as long."""
    return f"convert {quant}"


def arriving(quant: str) -> str:
    """The kind of rate at which a checkpoint is downloaded and converted meanwhile."""
    return f"arrive {quant}"


def likely(chosen: Chosen) -> float | None:
    """The bytes per second at which the download of this choice will go."""
    is_made = chosen.source_bytes != 0
    return (rate(arriving(chosen.plan.quant)) if is_made else None) or rate(DOWNLOAD)


def rate(kind: str) -> float | None:
    """Bytes per second of the last times, None where there was none."""
    found = _read().get(kind)
    return median(found) if found else None


def remember(kind: str, count: int, seconds: float) -> None:
    """Keep how long so many bytes took; what is too short to tell is left out."""
    if count < LEAST_BYTES or seconds < LEAST_SECONDS:
        return
    known = _read()
    known[kind] = [*known.get(kind, []), count / seconds][-KEPT:]
    with suppress(LocalchatError):  # only a convenience is lost
        write_text(_file(), json.dumps(known) + "\n")


def measured(events: Pull, clock: Callable[[], float] = time.monotonic) -> Pull:
    """The same events; how fast their stages go is kept once they are over."""
    with closing(events):
        yield from _watched(events, clock)


def _watched(events: Pull, clock: Callable[[], float]) -> Iterator[PullEvent]:
    kinds = {"download": "", "convert": ""}
    first: dict[str, tuple[float, int]] = {}
    for event in events:
        if isinstance(event, Chosen):
            kinds = _kinds(event)
        elif isinstance(event, Progress) and event.stage in kinds:
            began, before = first.setdefault(event.stage, (clock(), event.done_bytes))
            if event.done_bytes == before:  # what was there is looked at before more comes
                first[event.stage] = (clock(), before)
            if event.done_bytes == event.total_bytes and kinds[event.stage]:
                remember(kinds[event.stage], event.done_bytes - before, clock() - began)
                del kinds[event.stage]
        yield event


def _kinds(chosen: Chosen) -> dict[str, str]:
    """The kind of rate that each stage tells."""
    quant, is_made = chosen.plan.quant, chosen.source_bytes != 0
    return {"download": arriving(quant) if is_made else DOWNLOAD, "convert": converting(quant)}


def _seconds(count: int | None, kind: str) -> float | None:
    if not count:
        return 0.0 if count == 0 else None
    known = rate(kind)
    return count / known if known else None


def _file() -> Path:
    return measured_folder() / "pulls.json"


def _read() -> dict[str, list[float]]:
    """What is kept; a file that cannot be understood holds nothing."""
    try:
        raw = read_json(_file()) if _file().is_file() else {}
    except BadFile:
        return {}
    return {kind: found for kind, values in raw.items() if (found := _rates(values))}


def _rates(values: object) -> list[float]:
    numbers = [one for one in values if type(one) in (int, float)] if isinstance(values, list) else []
    return [float(one) for one in numbers if 0 < one < LIMIT][-KEPT:]
