# SPDX-License-Identifier: MIT
"""The real part of the simulation: CPU time and memory that jobs of a node really used, from the kernel.

CPU i of this machine belongs to socket i % 2 (cgroup v1). cgroup v2 does not say which CPU worked: there
each socket gets half.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .hardware import SOCKETS

JOB_V2 = re.compile(r"job_\d+|s[0-9A-HJKMNP-TV-Z]{13}")
"""`job_12`, from Slurm 26.05 on the job's SLUID (src/common/sluid.c)."""


class Cgroup:
    """One cgroup; its file stays open, because opening costs ten times what reading does."""

    def __init__(self, path: Path, version: int) -> None:
        self._version = version
        self._cpu = os.open(path / ("cpuacct.usage_percpu" if version == 1 else "cpu.stat"), os.O_RDONLY)
        self._memory = _open(_memory_file(path, version))

    def cpu_ns(self) -> dict[int, int] | None:
        """CPU -> nanoseconds of CPU time, children that are gone included; None once the cgroup is gone."""
        try:
            text = os.pread(self._cpu, 1 << 14, 0)
        except OSError:
            return None
        if self._version == 1:
            return dict(enumerate(map(int, text.split())))
        usage = int(text.split()[1]) * 1000
        return {0: usage - usage // SOCKETS, 1: usage // SOCKETS}

    def memory(self) -> int:
        """Bytes of memory used; 0 where the memory controller is off, or the cgroup is gone."""
        try:
            return int(os.pread(self._memory, 32, 0)) if self._memory >= 0 else 0
        except OSError:
            return 0

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self._cpu, self._memory):
            if fd >= 0:
                os.close(fd)


def node_cgroup(cgroupfs: Path, node: str) -> tuple[Path, int] | None:
    """The directory that holds the jobs of a node, and the version of its layout; None while there is none."""
    candidates = [
        (cgroupfs / "cpuacct" / f"slurm_{node}", 1),
        (cgroupfs / f"{node}_slurmstepd.scope", 2),
        (cgroupfs / "system.slice" / f"{node}_slurmstepd.scope", 2),
    ]
    return next(((path, version) for path, version in candidates if path.is_dir()), None)


def job_dirs(parent: Path, version: int) -> list[str]:
    """The job directories below a node's: `uid_70001/job_12` (v1), `job_12` or `s891M8001ARZ00` (v2)."""
    if version == 2:
        return [name for name in _entries(parent) if JOB_V2.fullmatch(name)]
    users = [name for name in _entries(parent) if name.startswith("uid_")]
    return [f"{user}/{job}" for user in users for job in _entries(parent / user) if job.startswith("job_")]


def by_socket(cpu_ns: dict[int, int]) -> list[int]:
    """Nanoseconds on each socket."""
    sums = [0] * SOCKETS
    for cpu, ns in cpu_ns.items():
        sums[cpu % SOCKETS] += ns
    return sums


def _entries(path: Path) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 pathlib takes five times as long, fifty times a second
    except OSError:
        return []


def _memory_file(path: Path, version: int) -> Path:
    if version == 2:
        return path / "memory.current"
    below = str(path).partition("/cpuacct/")
    return Path(f"{below[0]}/memory/{below[2]}/memory.usage_in_bytes")


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return -1
