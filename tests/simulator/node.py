# SPDX-License-Identifier: MIT
"""One simulated node: turns time and the CPU time of its jobs into counters, and keeps the truth of each job.

A package's energy is idle power x time + power per busy CPU x CPU time (of jobs and of the system);
memory's is idle power x time + power per GiB x memory of the jobs; a device's is gpus.py's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cgroups import Cgroup, by_socket, job_dirs, node_cgroup
from .gpus import Gpus
from .hardware import PJ_PER_UJ, SOCKETS, Node
from .host import MemInfo, ProcStat, make_cpuinfo, make_cpus
from .powercap import Powercap

GIB = 1 << 30
APART_UJ = 250_000_000
"""Microjoules between the starts of the counters of two packages."""


@dataclass
class Job:
    """Truth of one job directory: CPU time by socket, dynamic energy of its memory, when it was seen."""

    cgroup: Cgroup
    first_ns: int
    last_ns: int
    cpu_ns: list[int] = field(default_factory=lambda: [0] * SOCKETS)
    dram_pj: int = 0

    def record(self, job_id: str, gone: bool) -> dict[str, Any]:
        """One line of the log."""
        times = {"first_ns": self.first_ns, "last_ns": self.last_ns, "gone": gone}
        return {"job": job_id, "cpu_ns": self.cpu_ns, "dram_uj": self.dram_pj // PJ_PER_UJ, **times}


class SimulatedNode:
    """The files of one node below `root`, and what they should say."""

    def __init__(self, root: Path, cgroupfs: Path, node: Node) -> None:
        self.node = node
        self._cgroupfs = cgroupfs
        self._powercap = Powercap(root / "powercap")
        make_cpus(root / "cpu", node.cpus, node.threads)
        make_cpuinfo(root / "cpuinfo", node.cpus)
        self._stat = ProcStat(root / "stat", node)
        self._meminfo = MemInfo(root / "meminfo", node)
        self._gpus = Gpus(root, node.gpus) if node.gpus else None
        self._started_ns = self._stepped_ns = self._now_ns = time.monotonic_ns()
        self._parent: Cgroup | None = None
        self._parent_dir: tuple[Path, int] | None = None
        self._before: dict[int, int] = {}
        self.used_ns: dict[int, int] = {}
        self.memory_pj = 0
        self.jobs: dict[str, Job] = {}
        self._growth = [0] * SOCKETS
        self.unseen_ns = [0] * SOCKETS
        self.energy_uj: dict[str, int] = {}

    def count(self) -> None:
        """Let the counters of the packages go on up to now: the quick part of a step."""
        self._now_ns = time.monotonic_ns()
        if self._parent:  # looking for one takes longer than all the rest
            self._read_parent()
        self._powercap.write(self._packages())

    def step(self) -> list[dict[str, Any]]:
        """Let time pass up to now; returns the last records of the jobs that ended."""
        self._now_ns = time.monotonic_ns()
        step_ns, self._stepped_ns = self._now_ns - self._stepped_ns, self._now_ns
        self._read_parent()
        growth, self._growth = self._growth, [0] * SOCKETS
        memory, gone = self._read_jobs(step_ns, growth)
        self.memory_pj += memory * self.node.dram_mw_per_gib * step_ns // GIB
        zones = self._packages() | self._memories()
        self._powercap.write(zones)
        self.energy_uj = zones | (self._gpus.step(step_ns) if self._gpus else {})
        self._stat.write(self.elapsed_ns, self.used_ns, self._system_ns())
        self._meminfo.write(memory)
        return gone

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since the counters began."""
        return self._now_ns - self._started_ns

    def _system_ns(self) -> int:
        """CPU time of the operating system on each socket."""
        return self.elapsed_ns * self.node.system_ppm // 1_000_000

    def _packages(self) -> dict[str, int]:
        """Zone -> microjoules of each package since ever, before any wrap."""
        node, system_ns = self.node, self._system_ns()
        idle = node.idle_mw * self.elapsed_ns
        used = enumerate(by_socket(self.used_ns))
        return {
            f"package-{socket}": self._start_uj(socket) + (idle + node.busy_mw * (ns + system_ns)) // PJ_PER_UJ
            for socket, ns in used
        }

    def _start_uj(self, socket: int) -> int:
        """Return where a package's counter starts: no two packages of real hardware show the same."""
        return self.node.package_start_uj + socket * APART_UJ

    def _memories(self) -> dict[str, int]:
        """Zone -> microjoules of each socket's memory since ever, before any wrap."""
        picojoules = self.node.dram_idle_mw * self.elapsed_ns + self.memory_pj // SOCKETS
        return {f"dram-{socket}": self.node.dram_start_uj + picojoules // PJ_PER_UJ for socket in range(SOCKETS)}

    def _read_parent(self) -> None:
        """Add the growth of the node's own cgroup to `used_ns`, and by socket to the growth of this step."""
        now = self._parent.cpu_ns() if self._parent else None
        if now is None:  # not there yet, or made anew
            if self._parent:
                self._parent.close()
            self._parent_dir = node_cgroup(self._cgroupfs, self.node.name)
            self._parent = Cgroup(*self._parent_dir) if self._parent_dir else None
            self._before = {}
            now = (self._parent.cpu_ns() if self._parent else None) or {}
        growth = {cpu: ns - self._before.get(cpu, 0) for cpu, ns in now.items()}
        for cpu, ns in growth.items():
            self.used_ns[cpu % self.node.cpus] = self.used_ns.get(cpu % self.node.cpus, 0) + ns
        self._before = now
        self._growth = [before + ns for before, ns in zip(self._growth, by_socket(growth), strict=True)]

    def _read_jobs(self, step_ns: int, growth: list[int]) -> tuple[int, list[dict[str, Any]]]:
        """Sample every job; what the parent grew beyond them belongs to those that vanished since."""
        self._find_jobs()
        left, memory, vanished = growth, 0, []
        for path, job in self.jobs.items():
            now = job.cgroup.cpu_ns()
            if now is None:
                vanished.append(path)
                continue
            cpu_ns = by_socket(now)
            left = [rest - (new - old) for rest, new, old in zip(left, cpu_ns, job.cpu_ns, strict=True)]
            used = job.cgroup.memory()
            job.cpu_ns, job.last_ns = cpu_ns, self._now_ns
            job.dram_pj += used * self.node.dram_mw_per_gib * step_ns // GIB
            memory += used
        return memory, self._end(vanished, [max(0, rest) for rest in left])

    def _find_jobs(self) -> None:
        if not self._parent_dir:
            return
        parent, version = self._parent_dir
        for path in job_dirs(parent, version):
            if path not in self.jobs:
                try:
                    self.jobs[path] = Job(Cgroup(parent / path, version), self._now_ns, self._now_ns)
                except OSError:
                    continue  # gone between listing and opening: its time is in `unseen_ns`

    def _end(self, vanished: list[str], tail_ns: list[int]) -> list[dict[str, Any]]:
        """Give the tails to the jobs that vanished in this step, in equal parts."""
        if not vanished and any(tail_ns):
            self.unseen_ns = [a + b for a, b in zip(self.unseen_ns, tail_ns, strict=True)]
        records = []
        for path in vanished:
            job = self.jobs.pop(path)
            job.cgroup.close()
            job.cpu_ns = [ns + tail // len(vanished) for ns, tail in zip(job.cpu_ns, tail_ns, strict=True)]
            records.append(job.record(job_id_of(path), gone=True))
        return records

    def records(self) -> list[dict[str, Any]]:
        """The node and its jobs as they are now, for the log."""
        cpu_ns = by_socket(self.used_ns)
        node = {"elapsed_ns": self.elapsed_ns, "energy_uj": self.energy_uj, "cpu_ns": cpu_ns}
        node |= {"system_ns": self._system_ns(), "unseen_ns": self.unseen_ns}
        return [node, *(job.record(job_id_of(path), gone=False) for path, job in self.jobs.items())]


def job_id_of(path: str) -> str:
    """`uid_70001/job_12` -> `12`; a SLUID stays what it is."""
    return path.rpartition("job_")[2]
