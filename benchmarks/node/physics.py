# SPDX-License-Identifier: MIT
"""True physics of a shared node in virtual time: what its jobs really draw, and what its registers show of it.

Power of a socket is idle power plus watts for each busy CPU; of its memory, idle power plus watts for each GiB in
use; of a GPU, between idle and busy by its utilisation. Every job's own factor (1 where all draw alike) scales
its watts. All use is piecewise constant, so every energy is known in closed form at every instant.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SOCKETS = 2


@dataclass(frozen=True)
class Hardware:
    """Figures of a node, in CPUs, watts and GiB: about those of two 205 W sockets and four 350 W GPUs."""

    cpus: int = 32
    idle_w: float = 60.0
    busy_cpu_w: float = 9.0
    dram_idle_w: float = 8.0
    dram_gib_w: float = 0.3
    gpu_idle_w: float = 60.0
    gpu_busy_w: float = 350.0
    memory_gib: float = 256.0
    system_gib: float = 4.0
    system_cpu: float = 0.005
    """CPUs that the operating system keeps busy on each socket."""

    @property
    def cpu_tdp_w(self) -> float:
        """What a data sheet would say of one CPU: the socket at full load over its CPUs."""
        return self.idle_w * SOCKETS / self.cpus + self.busy_cpu_w

    def socket_of(self, cpu: int) -> int:
        """The first half of the CPUs is socket 0's."""
        return _socket_of(cpu, self.cpus)


@dataclass(frozen=True)
class Phase:
    """A part of a job: how long, CPUs busy of each it holds (0 to 1), GiB in use, GPU utilisation (0 to 1)."""

    seconds: float
    cpu: float
    gib: float
    gpu: float = 0.0


@dataclass(frozen=True)
class Job:
    """One job on one node. Times are seconds since the node's boot.

    `open_s`, `close_s`: prolog and epilog; `start_s`, `stop_s`: its cgroup; `factor` scales its watts;
    tasks of one array have the same `submission`.
    """

    job_id: int
    kind: str
    cpus: tuple[int, ...]
    gpus: tuple[str, ...]
    gib_requested: float
    open_s: float
    start_s: float
    stop_s: float
    close_s: float
    phases: tuple[Phase, ...]
    factor: float = 1.0
    submission: int = 0

    @property
    def seconds(self) -> float:
        """How long it was allocated."""
        return self.close_s - self.open_s

    def held_s(self, low: float, high: float) -> float:
        """How much of the interval it was allocated."""
        return max(0.0, min(self.close_s, high) - max(self.open_s, low))

    def phase(self, at: float) -> Phase | None:
        """The phase it is in, while its cgroup is there."""
        if not self.start_s <= at < self.stop_s:
            return None
        border = self.start_s
        for phase in self.phases:
            border += phase.seconds
            if at < border:
                return phase
        return None

    @cached_property
    def cpu_s(self) -> Line:
        """CPU seconds on each of its CPUs."""
        return Line(self.start_s, [(p.seconds, p.cpu) for p in self.phases])

    @cached_property
    def gib_s(self) -> Line:
        """GiB seconds of memory in use."""
        return Line(self.start_s, [(p.seconds, p.gib) for p in self.phases])

    @cached_property
    def gpu_s(self) -> Line:
        """Seconds of full use of each of its GPUs."""
        return Line(self.start_s, [(p.seconds, p.gpu) for p in self.phases])


class Line:
    """The integral of a rate that is constant in pieces."""

    def __init__(self, start: float, pieces: list[tuple[float, float]]) -> None:
        self.times = [start]
        self.values = [0.0]
        for seconds, rate in pieces:
            self.times.append(self.times[-1] + seconds)
            self.values.append(self.values[-1] + seconds * rate)

    def at(self, when: float) -> float:
        """The integral up to `when`."""
        i = bisect_right(self.times, when)
        if i == 0:
            return 0.0
        if i == len(self.times):
            return self.values[-1]
        part = (when - self.times[i - 1]) / (self.times[i] - self.times[i - 1])
        return self.values[i - 1] + part * (self.values[i] - self.values[i - 1])


def total(lines: Iterable[tuple[float, Line]]) -> Line:
    """Return the weighted sum of lines as one line, so that reading it takes one search."""
    slopes: dict[float, float] = {}
    for weight, line in lines:
        rates = [
            (at, weight * (v - u) / (to - at))
            for (at, u), (to, v) in pairwise(zip(line.times, line.values, strict=True))
            if to > at
        ]
        for (at, rate), before in zip([*rates, (line.times[-1], 0.0)], [0.0, *(r for _, r in rates)], strict=True):
            slopes[at] = slopes.get(at, 0.0) + rate - before
    times, rate, pieces = sorted(slopes), 0.0, []
    for at, to in pairwise(times):
        rate += slopes[at]
        pieces.append((to - at, max(0.0, rate)))
    return Line(times[0] if times else 0.0, pieces)


@lru_cache(maxsize=1024)
def _socket_of(cpu: int, cpus: int) -> int:
    return cpu * SOCKETS // cpus


@dataclass
class Truth:
    """Joules of one job: its static share by allocation, and what its own use caused."""

    static_j: float
    dynamic_j: float
    gpu_j: float

    @property
    def host_j(self) -> float:
        """Of sockets and memory, which nodes share."""
        return self.static_j + self.dynamic_j


@dataclass
class Node:
    """One node, its jobs, and its energies at any instant. `gpus` are UUIDs."""

    name: str
    jobs: list[Job]
    hardware: Hardware = field(default_factory=Hardware)
    gpus: tuple[str, ...] = ()

    def on_socket(self, job: Job, socket: int) -> int:
        """Return how many CPUs the job holds there."""
        return self._on_socket[job.job_id][socket]

    @cached_property
    def _on_socket(self) -> dict[int, list[int]]:
        of = self.hardware.socket_of
        return {job.job_id: [sum(of(cpu) == s for cpu in job.cpus) for s in range(SOCKETS)] for job in self.jobs}

    @cached_property
    def _dynamic_cpu_s(self) -> list[Line]:
        return [
            total((job.factor * self.on_socket(job, s), job.cpu_s) for job in self.jobs if self.on_socket(job, s))
            for s in range(SOCKETS)
        ]

    @cached_property
    def _dynamic_gib_s(self) -> Line:
        return total((job.factor, job.gib_s) for job in self.jobs)

    @cached_property
    def _dynamic_gpu_s(self) -> dict[str, Line]:
        return {gpu: total((job.factor, job.gpu_s) for job in self.jobs if gpu in job.gpus) for gpu in self.gpus}

    @cached_property
    def busy_cpu_s(self) -> list[Line]:
        """CPU seconds of all jobs on each CPU."""
        return [total((1.0, job.cpu_s) for job in self.jobs if cpu in job.cpus) for cpu in range(self.hardware.cpus)]

    def package_j(self, socket: int, at: float) -> float:
        """Return the energy of a socket since boot."""
        h = self.hardware
        return h.idle_w * at + h.busy_cpu_w * (self._dynamic_cpu_s[socket].at(at) + h.system_cpu * at)

    def dram_j(self, at: float) -> float:
        """Return the energy of one socket's memory since boot; pages are spread over both."""
        h = self.hardware
        return h.dram_idle_w * at + h.dram_gib_w * self._dynamic_gib_s.at(at) / SOCKETS

    def gpu_j(self, gpu: str, at: float) -> float:
        """Return the energy of a GPU since boot."""
        h = self.hardware
        return h.gpu_idle_w * at + (h.gpu_busy_w - h.gpu_idle_w) * self._dynamic_gpu_s[gpu].at(at)

    def gpu_w(self, gpu: str, at: float) -> float:
        """Power of a GPU now."""
        h = self.hardware
        phases = [(job.factor, job.phase(at)) for job in self.jobs if gpu in job.gpus]
        return h.gpu_idle_w + (h.gpu_busy_w - h.gpu_idle_w) * sum(f * p.gpu for f, p in phases if p)

    def host_j(self, at: float) -> float:
        """Energy of sockets and memory since boot."""
        return sum(self.package_j(s, at) + self.dram_j(at) for s in range(SOCKETS))

    def truth(self, job: Job) -> Truth:
        """What the job should pay: idle power x time for its share of the CPUs and of the memory, the energy of its
        own use, and all of the GPUs that it held.
        """
        h = self.hardware
        idle_w = SOCKETS * (h.idle_w * len(job.cpus) / h.cpus + h.dram_idle_w * job.gib_requested / h.memory_gib)
        use = len(job.cpus) * h.busy_cpu_w * job.cpu_s.at(job.close_s) + h.dram_gib_w * job.gib_s.at(job.close_s)
        held = (self.gpu_j(gpu, job.close_s) - self.gpu_j(gpu, job.open_s) for gpu in job.gpus)
        return Truth(idle_w * job.seconds, job.factor * use, sum(held))

    def without_idle_power(self) -> Node:
        """Return the same node and jobs with sockets and memory that draw nothing when idle.

        Rules that are linear in the energy make of it what they make of the dynamic part.
        """
        return replace(self, hardware=replace(self.hardware, idle_w=0.0, dram_idle_w=0.0))
