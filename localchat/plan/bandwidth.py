"""The rates of this machine's devices, measured once and remembered under LOCALCHAT_HOME.

A rate that was measured while other programs ran is too low and never too high: the best one ever seen is kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from localchat.errors import LocalchatError
from localchat.files import read_json, write_text
from localchat.llama.bandwidth import TYPES, measure
from localchat.llama.devices import Device
from localchat.llama.libraries import package_version
from localchat.llama.placement import HOST
from localchat.llama.rates import Rates
from localchat.paths import measured_folder

OLD_AFTER = timedelta(days=30)
DOUBTFUL_AFTER = timedelta(minutes=5)  # measured while other programs had the cores, or not at all
CACHE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of one device, with one build of llama.cpp and so many threads."""

    at: datetime
    """When it was measured last."""
    rates: Rates = field(default_factory=Rates)
    tried: tuple[str, ...] = ()
    """Types that were measured then or before, with or without success."""
    is_calm: bool = False
    """Was nothing else running the last time?"""
    is_sure: bool = False
    """Was it ever so? What was only ever measured beside other programs may be ten times too low."""

    def is_due(self, types: Iterable[str], now: datetime) -> bool:
        """Should these types be measured now?"""
        keeps = OLD_AFTER if self.is_calm and self.rates.bytes_per_second else DOUBTFUL_AFTER
        return not timedelta(0) <= now - self.at < keeps or not set(types) <= set(self.tried)


def rates(
    devices: Sequence[Device], threads: int, processor_name: str, *,
    measure: bool, types: Iterable[str] = (), rpc: Sequence[str] = (),
) -> dict[str, Rates]:  # fmt: skip
    """The rates of the CPU, under `CPU`, and of these devices by their names; those that are not known are left out.

    Where `measure` is set, what was never measured or is old is measured now, for about two seconds a device: always
    the types that localchat makes, and besides them `types`. Nothing that goes wrong meanwhile is an error.
    """
    file, now = _read(), datetime.now(UTC)
    found: dict[str, Rates] = {}
    for name, description in [(HOST, processor_name), *((one.name, one.description) for one in devices)]:
        used = threads if name == HOST else 0
        key = _build() + json.dumps([name, description, used])
        known, wanted = file.get(key), sorted({*TYPES, *types})
        if measure and (known is None or known.is_due(wanted, now)):
            known = file[key] = _merged(known, _measured(name, used, wanted, rpc, now))
            _write(file)
        if known is not None and known.is_sure and known.rates.bytes_per_second:
            found[name] = known.rates
    return found


def _measured(name: str, threads: int, types: Sequence[str], rpc: Sequence[str], now: datetime) -> Known:
    try:
        found, is_calm = measure(name, threads, types, rpc)
    except (LocalchatError, OSError):
        return Known(now, Rates(), tuple(types))
    return Known(now, found, tuple(types), is_calm, is_calm)


def _merged(old: Known | None, new: Known) -> Known:
    """The best of both, measured when the new one was."""
    if old is None:
        return new
    before, after = old.rates, new.rates
    kinds = before.bytes_per_second.keys() | after.bytes_per_second.keys()
    best = {kind: max(one.bytes_per_second.get(kind, 0.0) for one in (before, after)) for kind in kinds}
    layers = [one.layer_seconds for one in (before, after) if one.bytes_per_second]
    tried = tuple(sorted({*old.tried, *new.tried}))
    return Known(new.at, Rates(best, min(layers, default=0.0)), tried, new.is_calm, old.is_sure or new.is_sure)


def _read() -> dict[str, Known]:
    """What is remembered; what cannot be understood is as good as not there."""
    try:
        entries = read_json(_file(), CACHE_LIMIT_BYTES)
    except LocalchatError:
        return {}
    found = {key: _known(fields) for key, fields in entries.items()}
    return {key: known for key, known in found.items() if known is not None}


def _known(fields: Any) -> Known | None:
    try:
        at = datetime.fromisoformat(fields["at"])
        kinds = {str(kind): _positive(rate) for kind, rate in fields["rates"]["bytes_per_second"].items()}
        seconds = fields["rates"]["layer_seconds"]
        known = Rates(kinds, _positive(seconds) if seconds else 0.0)
        if at.tzinfo is None or not all(isinstance(kind, str) for kind in fields["tried"]):
            return None
        return Known(at, known, tuple(fields["tried"]), fields["is_calm"] is True, fields["is_sure"] is True)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError("no rate")
    return number


def _write(file: Mapping[str, Known]) -> None:
    """Remember it; what other versions of llama.cpp did is of no use any more."""
    current = {key: known for key, known in file.items() if key.startswith(_build())}
    entries = {key: {**asdict(known), "at": known.at.isoformat()} for key, known in current.items()}
    try:
        write_text(_file(), json.dumps(entries, indent=2) + "\n")
    except LocalchatError:
        return  # a full disk costs the next plan two seconds


def _build() -> str:
    """What the keys of this version of llama.cpp begin with."""
    return f"{package_version()} "


def _file() -> Path:
    return measured_folder() / "rates.json"
