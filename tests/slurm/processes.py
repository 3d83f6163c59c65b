# SPDX-License-Identifier: MIT
"""Processes of this host, as /proc tells of them."""

from __future__ import annotations

import contextlib
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for yet does not."""
    return bool(pid) and start_time(pid) != 0


def start_time(pid: int) -> int:
    """Start of a process in ticks since boot; 0 if it does not run. With the id it names a process for ever."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def child_of(parent: int) -> int:
    """The first child of a process, 0 if it has none."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                return int(stat.parent.name)
    return 0


def in_mount_namespace(namespace: Path) -> list[int]:
    """Processes in a mount namespace, given as what the link /proc/<pid>/ns/mnt says."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "ns/mnt").readlink() == namespace and alive(int(process.name)):
                found.append(int(process.name))
    return found


def command_line(pid: int) -> bytes:
    """Command line of a process, a NUL after each word; empty if it does not run."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def peak_mib(status: Path) -> float:
    """The most resident memory that a process has had, in MiB, from its /proc/<pid>/status; 0 if it does not run."""
    try:
        text = status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024 if "VmHWM:" in text else 0.0
