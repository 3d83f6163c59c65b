# SPDX-License-Identifier: MIT
"""What each rule intends: its formula applied to the true physics at every instant, instead of at its readings.

A rule's bill against its intent is the error of its measurement. Its intent against ours is its policy: what it does
with idle power, and by what it shares the rest. Nothing here reads a register.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from .physics import SOCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .physics import Job, Node, Phase

GA_W_PER_GIB = 0.3725
"""Green Algorithms' power of memory (Lannelongue et al. 2021, doi 10.1002/advs.202100707)."""
EQUAL_SHARE = 0.1
"""The part of a node's power that CEEMS' node rule divides equally (etc/prometheus/rules of CEEMS)."""

Watts = dict[int, float]
"""Watts of sockets and memory by JobID."""


class Moment(NamedTuple):
    """A stretch of time in which no rate changes: `seconds` long, watts of each socket and of all memory."""

    seconds: float
    package_w: list[float]
    dram_w: float
    busy: list[float]
    """CPUs busy on each socket, the system's with them."""
    gib: float
    """Memory in use, the system's with it."""
    held: list[Job]
    running: list[tuple[Job, Phase]]

    @property
    def host_w(self) -> float:
        """Watts of sockets and memory."""
        return sum(self.package_w) + self.dram_w


def moments(node: Node) -> Iterator[Moment]:
    """Yield the node's life from its boot to its last epilog."""
    times = {0.0} | {t for job in node.jobs for t in (job.open_s, *job.cpu_s.times, job.stop_s, job.close_s)}
    for low, high in pairwise(sorted(times)):
        yield _moment(node, high - low, (low + high) / 2)


def _moment(node: Node, seconds: float, at: float) -> Moment:
    h = node.hardware
    held = [job for job in node.jobs if job.open_s <= at < job.close_s]
    running = [(job, phase) for job in held if (phase := job.phase(at))]
    package_w, busy = [], []
    for socket in range(SOCKETS):
        busy.append(h.system_cpu + sum(node.on_socket(job, socket) * phase.cpu for job, phase in running))
        drawn = h.system_cpu + sum(job.factor * node.on_socket(job, socket) * phase.cpu for job, phase in running)
        package_w.append(h.idle_w + h.busy_cpu_w * drawn)
    dram_w = SOCKETS * h.dram_idle_w + h.dram_gib_w * sum(job.factor * phase.gib for job, phase in running)
    gib = h.system_gib + sum(phase.gib for _, phase in running)
    return Moment(seconds, package_w, dram_w, busy, gib, held, running)


def intended(node: Node, watts: Callable[[Node, Moment], Watts]) -> Watts:
    """Return the joules of sockets and memory of every job, by a rule that gives watts at each moment."""
    joules = {job.job_id: 0.0 for job in node.jobs}
    for moment in moments(node):
        for job_id, w in watts(node, moment).items():
            joules[job_id] += w * moment.seconds
    return joules


def allocation_and_use(node: Node, now: Moment) -> Watts:
    """Ours: idle power by what is held, the rest of each socket by CPU time, of memory by memory in use."""
    h = node.hardware
    watts = {
        job.job_id: SOCKETS * (h.idle_w * len(job.cpus) / h.cpus + h.dram_idle_w * job.gib_requested / h.memory_gib)
        for job in now.held
    }
    jobs_gib = sum(phase.gib for _, phase in now.running)
    for job, phase in now.running:
        for s in range(SOCKETS):
            share = node.on_socket(job, s) * phase.cpu / now.busy[s]
            watts[job.job_id] += (now.package_w[s] - h.idle_w) * share
        watts[job.job_id] += (now.dram_w - SOCKETS * h.dram_idle_w) * phase.gib / jobs_gib
    return watts


def use(node: Node, now: Moment) -> Watts:
    """CEEMS, RAPL rule: packages by CPU time over the node's busy CPU time, memory by memory in use over the node's."""
    del node
    return {
        job.job_id: sum(now.package_w) * len(job.cpus) * phase.cpu / sum(now.busy) + now.dram_w * phase.gib / now.gib
        for job, phase in now.running
    }


def use_and_equal(node: Node, now: Moment) -> Watts:
    """CEEMS, node rule: nine tenths as by the RAPL rule, one tenth in equal parts to the jobs that run."""
    equal = EQUAL_SHARE * now.host_w / max(1, len(now.running))
    return {job_id: (1 - EQUAL_SHARE) * w + equal for job_id, w in use(node, now).items()}


def use_of_capacity(node: Node, now: Moment) -> Watts:
    """Kepler and Scaphandre: sockets and memory by CPU time over what all CPUs could have used."""
    return {j.job_id: now.host_w * len(j.cpus) * phase.cpu / node.hardware.cpus for j, phase in now.running}


def cpus_held(node: Node, now: Moment) -> Watts:
    """EAR's daemon: all power of the node to the jobs that are there, by CPUs held."""
    del node
    cpus = sum(len(job.cpus) for job in now.held)
    return {job.job_id: now.host_w * len(job.cpus) / cpus for job in now.held}


def whole_node(node: Node, now: Moment) -> Watts:
    """Slurm's ConsumedEnergy: all power of the node to each job that runs there."""
    del node
    return {job.job_id: now.host_w for job, _ in now.running}


def tdp(node: Node, now: Moment) -> Watts:
    """GA4HPC: TDP of a CPU for each that is busy, 0.3725 W for each GiB asked for. It reads no meter."""
    watts = {job.job_id: GA_W_PER_GIB * job.gib_requested for job in now.held}
    for job, phase in now.running:
        watts[job.job_id] += node.hardware.cpu_tdp_w * len(job.cpus) * phase.cpu
    return watts


def gpus_held(node: Node) -> Watts:
    """Return all joules of a job's GPUs from prolog to epilog: ours, EAR's."""
    return {j.job_id: sum(node.gpu_j(g, j.close_s) - node.gpu_j(g, j.open_s) for g in j.gpus) for j in node.jobs}


def gpus_running(node: Node) -> Watts:
    """Return all joules of a job's GPUs while its processes were there: CEEMS', Kepler's."""
    return {j.job_id: sum(node.gpu_j(g, j.stop_s) - node.gpu_j(g, j.start_s) for g in j.gpus) for j in node.jobs}


def gpus_tdp(node: Node) -> Watts:
    """Return the joules of a job's GPUs at full power: GA4HPC's."""
    return {j.job_id: node.hardware.gpu_busy_w * len(j.gpus) * j.seconds for j in node.jobs}
