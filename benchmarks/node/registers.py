# SPDX-License-Identifier: MIT
"""What a node shows of its true physics: counters that step, jitter, wrap and lag, as the kernel's do."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .physics import SOCKETS

if TYPE_CHECKING:
    from .physics import Job, Node

RAPL_STEP_S = 0.001
"""RAPL is updated about every millisecond, not evenly (kernel, Documentation/hwmon/amd_energy)."""
RAPL_JITTER_S = 0.0004
NVML_STEP_S = 0.02
"""NVML's energy counter steps every 10 to 100 ms, by device."""
JIFFY_S = 0.004
"""CPU time of a task that runs is brought up to date at the scheduler's tick (CONFIG_HZ=250); a file's time of last
modification is the last tick's as well."""
USER_HZ_S = 0.01
"""/proc/stat counts in these (proc(5))."""
SYSTEM_SHARE = 0.05
"""Part of a job's CPU time that is spent in the kernel, which /proc/stat counts apart."""
UNITS = {"cpu": (61.035, 262_143_328_850), "dram": (15.3, 65_712_999_613)}
GIB = 1 << 30


class Registers:
    """The readable side of one node."""

    def __init__(self, node: Node, seed: int = 0) -> None:
        self.node = node
        self._seed = seed
        rng = random.Random(f"{seed} {node.name}")  # noqa: S311 - reproducible
        # Each counter starts somewhere, the first one 5 kJ before it wraps.
        self._starts = {name: rng.randrange(UNITS[kind][1]) for name, kind in self.zones().items()}
        self._starts["package-0"] = UNITS["cpu"][1] - 5_000_000_000

    def zones(self) -> dict[str, str]:
        """Powercap zone -> cpu or dram."""
        return {f"{z}-{s}": kind for s in range(SOCKETS) for z, kind in (("package", "cpu"), ("dram", "dram"))}

    def energy_uj(self, zone: str, at: float) -> int:
        """A powercap counter, wrapped."""
        step, range_uj = UNITS[self.zones()[zone]]
        return int(self.unwrapped_uj(zone, at) // step * step) % range_uj

    def unwrapped_uj(self, zone: str, at: float) -> float:
        """The same before it wraps: what a reader knows who missed no wrap."""
        kind, socket = zone.split("-")
        when = self._updated(at)
        true_j = self.node.package_j(int(socket), when) if kind == "package" else self.node.dram_j(when)
        return self._starts[zone] + true_j * 1e6

    def gpu_uj(self, gpu: str, at: float) -> int:
        """NVML's energy counter: millijoules, here in microjoules."""
        return int(self.node.gpu_j(gpu, at // NVML_STEP_S * NVML_STEP_S) * 1000) * 1000

    def job_cpu_s(self, job: Job, at: float) -> float:
        """CPU seconds on each of the job's CPUs, as its cgroup (or, once it is gone, the parent's sum) has them."""
        return job.cpu_s.at(at if at >= job.stop_s else at // JIFFY_S * JIFFY_S)

    def busy_s(self, socket: int, at: float) -> float:
        """CPU seconds on a socket in /proc/stat, fields floored each."""
        h = self.node.hardware
        by_cpu = [line.at(at) for cpu, line in enumerate(self.node.busy_cpu_s) if h.socket_of(cpu) == socket]
        system = _floor(h.system_cpu * at)
        return system + sum(_floor(s * SYSTEM_SHARE) + _floor(s * (1 - SYSTEM_SHARE)) for s in by_cpu)

    def memory_gib(self, at: float) -> float:
        """Memory in use on the node: the system's and the jobs'."""
        phases = (job.phase(at) for job in self.node.jobs)
        return self.node.hardware.system_gib + sum(phase.gib for phase in phases if phase)

    def job_gib(self, job: Job, at: float) -> float:
        """Memory that the job's cgroup shows."""
        phase = job.phase(at)
        return phase.gib if phase else 0.0

    def _updated(self, at: float) -> float:
        """When the RAPL counters were last updated."""
        step = int(at / RAPL_STEP_S)
        when = self._update(step)
        return when if when <= at else self._update(step - 1)

    def _update(self, step: int) -> float:
        jitter = ((step * 2_654_435_761 + self._seed) & 0xFFFF) / 0x10000
        return step * RAPL_STEP_S + jitter * RAPL_JITTER_S


class NoisyRegisters(Registers):
    """The same where every reading of a RAPL counter adds what it should, times 1 + a normal deviate.

    It is for one reader that reads in the order of time: the error of a reading stays in the counter.
    `noise` is the standard deviation, as a part of the energy between two readings.
    """

    def __init__(self, node: Node, noise: float, seed: int = 0) -> None:
        super().__init__(node, seed)
        self._noise = noise
        self._rng = random.Random(f"noise {seed} {node.name}")  # noqa: S311 - reproducible
        self._read: dict[str, tuple[float, float]] = {}

    def energy_uj(self, zone: str, at: float) -> int:
        """Return a powercap counter, wrapped."""
        true_uj = self.unwrapped_uj(zone, at)
        before_uj, shown_uj = self._read.get(zone, (true_uj, true_uj))
        shown_uj += (true_uj - before_uj) * max(0.0, self._rng.gauss(1.0, self._noise))
        self._read[zone] = true_uj, shown_uj
        step, range_uj = UNITS[self.zones()[zone]]
        return int(shown_uj // step * step) % range_uj


def _floor(seconds: float) -> float:
    return seconds // USER_HZ_S * USER_HZ_S
