"""A made-up root of the file system, for machines that are not here."""

from __future__ import annotations

from pathlib import Path

V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1_MOUNTS = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def write(root: Path, name: str, text: str) -> None:
    """One file, with the folders it needs."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def cpus(root: Path, cores: list[tuple[int, ...]], **facts: list[int]) -> Path:
    """Logical CPUs by core; `facts` are a number for each core, such as `cpu_capacity`."""
    for index, core in enumerate(cores):
        for cpu in core:
            folder = f"sys/devices/system/cpu/cpu{cpu}"
            write(root, f"{folder}/topology/core_cpus_list", ",".join(map(str, core)))
            for name, values in facts.items():
                write(root, f"{folder}/{name.replace('__', '/')}", str(values[index]))
    return root


def group(root: Path, path: str, **files: str | int) -> Path:
    """Files of one control group; the first underscore in a name is a dot."""
    for name, value in files.items():
        write(root, f"sys/fs/cgroup/{path}/{name.replace('_', '.', 1)}", str(value))
    return root


def member(root: Path, memberships: str, mounts: str) -> Path:
    """The groups that the process is in, and where they are mounted."""
    write(root, "proc/self/cgroup", memberships)
    write(root, "proc/self/mountinfo", mounts)
    return root


def card(root: Path, number: int, vendor: str, device: str, **files: str) -> Path:
    """A graphics card in /sys; returns its folder."""
    folder = f"sys/class/drm/card{number}/device"
    for name, text in {"vendor": vendor, "device": device, **files}.items():
        write(root, f"{folder}/{name}", text)
    return root / folder
