"""The limits that a container or a service of Linux lives under: control groups, of both versions.

A group has the limits of all groups above it as well, so they are read from the innermost one up to where the
hierarchy is mounted. `root` is `/`, or a made-up one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from localchat.plan.system_files import read, whole


@dataclass(frozen=True, slots=True)
class Group:
    """One control group and the version of its hierarchy, which says how its files are called."""

    folder: Path
    version: int

    def number(self, name: str) -> int | None:
        """The whole number that a file holds; None where it holds none (`max`) or is not there."""
        return whole(read(self.folder / name))

    def statistic(self, name: str, key: str) -> int:
        """A number of a file with a key and a number in each line; 0 where it is not there."""
        pairs = [line.split() for line in read(self.folder / name).splitlines()]
        return next((whole(pair[1]) or 0 for pair in pairs if len(pair) == 2 and pair[0] == key), 0)


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """What a group may use and what of it is left."""

    limit_bytes: int
    available_bytes: int


def memory_limits(root: Path = Path("/")) -> list[MemoryLimit]:
    """The limits of the groups that have one. Files in the cache that are not in use can be had back at once."""
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }
    found = []
    for group in groups("memory", root):
        limit_name, usage_name, cache_name = names[group.version]
        limit, usage = group.number(limit_name), group.number(usage_name) or 0
        if limit is not None:
            used = max(0, usage - group.statistic("memory.stat", cache_name))
            found.append(MemoryLimit(limit, max(0, limit - used)))
    return found


def cpu_limit(root: Path = Path("/")) -> int | None:
    """Processors that may be busy at once, a part of one counted as one; None where there is no limit."""
    quotas = [_quota(group) for group in groups("cpu", root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(group: Group) -> int | None:
    if group.version == 2:
        quota, period = (whole(text) for text in (*read(group.folder / "cpu.max").split(), "", "")[:2])
    else:
        quota, period = group.number("cpu.cfs_quota_us"), group.number("cpu.cfs_period_us")
    return math.ceil(quota / period) if quota and period else None


def groups(controller: str, root: Path = Path("/")) -> Iterator[Group]:
    """The groups that govern this process, the innermost first."""
    memberships = _memberships(read(root / "proc/self/cgroup"))
    for version, wanted in ((1, controller), (2, "")):
        if wanted not in memberships:
            continue
        for mount_root, mount_point in _mounts(read(root / "proc/self/mountinfo"), version, controller):
            top = root / mount_point.lstrip("/")
            folder = _inside(top, memberships[wanted], mount_root)
            while folder != top:
                yield Group(folder, version)
                folder = folder.parent
            yield Group(top, version)


def _inside(top: Path, path: str, mount_root: str) -> Path:
    """The folder of a group; in a container that sees its own part of the hierarchy alone, this is the top."""
    try:
        parts = PurePosixPath(path).relative_to(mount_root).parts
    except ValueError:
        return top
    folder = top.joinpath(*parts)
    return folder if ".." not in parts and folder.is_dir() else top


def _memberships(text: str) -> dict[str, str]:
    """The path of the process's group by controller; version 2 has no controllers and is the empty one."""
    found = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts(text: str, version: int, controller: str) -> Iterator[tuple[str, str]]:
    """Root and place of each mounted hierarchy, as /proc/self/mountinfo has them."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), (*after.split(), "", "", "")[:3]
        is_wanted = kind == "cgroup2" if version == 2 else kind == "cgroup" and controller in options.split(",")
        if is_wanted and len(fields) > 4:
            yield _plain(fields[3]), _plain(fields[4])


def _plain(path: str) -> str:
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
