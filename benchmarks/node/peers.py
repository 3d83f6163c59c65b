# SPDX-License-Identifier: MIT
"""What the rules of others make of the same readings, each at its own sampling interval. Joules by job.

The rules only, none of their code: what each documents, or does by its source, with the losses at a job's head and tail
that its sampling brings. Where two readings of a rule are possible, the kinder one is taken, or both have a row.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from . import intent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .physics import Job, Node
    from .registers import Registers


class Bill(NamedTuple):
    """Joules of a job: sockets and memory, and GPUs (`None`: the rule has none)."""

    host_j: float
    gpu_j: float | None


class Result(NamedTuple):
    """Bills by JobID, and joules of sockets and memory that the rule itself books as idle or system."""

    bills: dict[int, Bill]
    rest_j: float


class Rule(NamedTuple):
    """A rule: its name, how often it reads, what becomes of idle power, by what it shares the rest.

    `bill`: what it makes of a node's readings until `end_s`; `watts`: what it intends at each moment;
    `gpus`: the joules that it intends for GPUs (`None`: it has none).
    """

    name: str
    sampling: str
    idle: str
    shares: str
    bill: Callable[[Registers, float], Result]
    watts: Callable[[Node, intent.Moment], intent.Watts]
    gpus: Callable[[Node], intent.Watts] | None


PHASE_S = 0.37
"""A sampler's clock has nothing to do with the jobs'."""
CEEMS_S, KEPLER_S, SCAPHANDRE_S, EAR_S = 10.0, 5.0, 2.0, 60.0
"""Scrape interval that CEEMS' authors use, defaults of Kepler and Scaphandre, NodeDaemonPowermonFreq of EAR."""


def slurm(r: Registers, end_s: float) -> Result:
    """Slurm's ConsumedEnergy with acct_gather_energy/rapl: the whole node's packages and memory, from the first
    step's start to its end, to each job; no NVIDIA GPUs.
    """
    del end_s
    bills = {job.job_id: Bill(_host_j(r, job.start_s, job.stop_s), None) for job in r.node.jobs}
    return Result(bills, 0.0)


def ceems(r: Registers, end_s: float, interval_s: float = CEEMS_S) -> Result:
    """CEEMS with RAPL (off by default since its 0.11): package by CPU time over the node's busy CPU time, memory by
    memory used over the node's.

    A rate needs the job in two scrapes; GPUs are power at the scrape x the interval.
    """
    return _ceems(r, end_s, interval_s, equal=0.0)


def ceems_node(r: Registers, end_s: float, interval_s: float = CEEMS_S) -> Result:
    """CEEMS with a meter of the node (here the sum of the same readings): 90 % of the power in RAPL's proportion of
    package and memory, by CPU time and memory used; 10 % in equal parts.
    """
    return _ceems(r, end_s, interval_s, equal=intent.EQUAL_SHARE)


def _ceems(r: Registers, end_s: float, interval_s: float, equal: float) -> Result:
    bills = {job.job_id: [0.0, 0.0] for job in r.node.jobs}
    for low, high in _scrapes(interval_s, end_s):
        package, dram = _kind_j(r, "cpu", low, high), _kind_j(r, "dram", low, high)
        busy = _busy_s(r, low, high)
        there = [job for job in r.node.jobs if job.start_s <= low and high < job.stop_s]
        for job in there:
            used = _cpu_s(r, job, low, high) / busy if busy else 0.0
            memory = r.job_gib(job, high) / r.memory_gib(high)
            bills[job.job_id][0] += (1 - equal) * (package * used + dram * memory)
            bills[job.job_id][0] += equal * (package + dram) / len(there)
        _sample_gpus(r, bills, high, high - low)
    return Result({job_id: Bill(*both) for job_id, both in bills.items()}, 0.0)


def kepler(r: Registers, end_s: float, interval_s: float = KEPLER_S) -> Result:
    """Kepler, every 5 s: E c_j / K for package and memory; the rest is the node's idle power and its own processes'."""
    return _by_capacity(r, end_s, interval_s, gpus=True)


def scaphandre(r: Registers, end_s: float, interval_s: float = SCAPHANDRE_S) -> Result:
    """Scaphandre, every 2 s: the same E c_j / K; no GPUs."""
    return _by_capacity(r, end_s, interval_s, gpus=False)


def _by_capacity(r: Registers, end_s: float, interval_s: float, gpus: bool) -> Result:
    bills = {job.job_id: [0.0, 0.0] for job in r.node.jobs}
    rest = 0.0
    for low, high in _scrapes(interval_s, end_s):
        energy = _host_j(r, low, high)
        capacity = r.node.hardware.cpus * (high - low)
        rest += energy
        for job in r.node.jobs:
            if job.start_s <= high < job.stop_s:  # its processes are there; what they used before counts at once
                share = energy * _cpu_s(r, job, low, high) / capacity
                bills[job.job_id][0] += share
                rest -= share
        if gpus:
            _sample_gpus(r, bills, high, interval_s)
    return Result({j: Bill(host, gpu if gpus else None) for j, (host, gpu) in bills.items()}, rest)


def ear(r: Registers, end_s: float, interval_s: float = EAR_S) -> Result:
    """EAR's daemon alone: the energy of a whole period to the jobs that are there at its end, by CPUs held.

    A job that had the node for itself from its start to its end is read at both instead.
    """
    bills = {job.job_id: 0.0 for job in r.node.jobs}
    for low, high in _scrapes(interval_s, end_s):
        there = [job for job in r.node.jobs if job.open_s <= high < job.close_s]
        cpus = sum(len(job.cpus) for job in there)
        for job in there:
            bills[job.job_id] += _host_j(r, low, high) * len(job.cpus) / cpus
    for job in r.node.jobs:
        if not any(other.held_s(job.open_s, job.close_s) for other in r.node.jobs if other is not job):
            bills[job.job_id] = _host_j(r, job.open_s, job.close_s)
    return Result({job_id: Bill(joules, None) for job_id, joules in bills.items()}, 0.0)


def ear_at_borders(r: Registers, end_s: float) -> Result:
    """EAR's rule as its daemon would apply it if it read at each start and end of a job.

    A GPU's energy is its holder's.
    """
    del end_s
    bills = {job.job_id: 0.0 for job in r.node.jobs}
    borders = sorted({t for job in r.node.jobs for t in (job.open_s, job.close_s)})
    for low, high in pairwise(borders):
        there = [job for job in r.node.jobs if job.held_s(low, high) > 0]
        cpus = sum(len(job.cpus) for job in there)
        for job in there:
            bills[job.job_id] += _host_j(r, low, high) * len(job.cpus) / cpus
    gpus = {j.job_id: sum(r.gpu_uj(g, j.close_s) - r.gpu_uj(g, j.open_s) for g in j.gpus) / 1e6 for j in r.node.jobs}
    return Result({job_id: Bill(joules, gpus[job_id]) for job_id, joules in bills.items()}, 0.0)


def ga4hpc(r: Registers, end_s: float) -> Result:
    """GA4HPC from sacct alone: TDP of a core x CPU time, memory asked for x 0.3725 W/GiB, GPUs at full TDP."""
    del end_s
    h = r.node.hardware
    bills = {}
    for job in r.node.jobs:
        elapsed_s = float(int(job.seconds))  # sacct has whole seconds
        cpu = h.cpu_tdp_w * len(job.cpus) * job.cpu_s.at(job.stop_s)
        memory = intent.GA_W_PER_GIB * job.gib_requested * elapsed_s
        bills[job.job_id] = Bill(cpu + memory, h.gpu_busy_w * len(job.gpus) * elapsed_s)
    return Result(bills, 0.0)


_EACH = "all to each job"
RULES = (
    Rule("CEEMS, RAPL rule", "10 s", "by use", "by use", ceems, intent.use, intent.gpus_running),
    Rule(
        "CEEMS, node rule",
        "10 s",
        "by use, 10 % equal",
        "by use, 10 % equal",
        ceems_node,
        intent.use_and_equal,
        intent.gpus_running,
    ),
    Rule("Kepler", "5 s", "to nobody", "by CPU time of capacity", kepler, intent.use_of_capacity, intent.gpus_running),
    Rule("Scaphandre", "2 s", "to nobody", "by CPU time of capacity", scaphandre, intent.use_of_capacity, None),
    Rule("EAR, daemon alone", "60 s", "to the running jobs", "by CPUs held", ear, intent.cpus_held, None),
    Rule(
        "EAR, if read at job borders",
        "job events",
        "to the running jobs",
        "by CPUs held",
        ear_at_borders,
        intent.cpus_held,
        intent.gpus_held,
    ),
    Rule("GA4HPC (TDP, no meter)", "sacct", "in the TDP", "-", ga4hpc, intent.tdp, intent.gpus_tdp),
    Rule("Slurm ConsumedEnergy", "job events", _EACH, _EACH, slurm, intent.whole_node, None),
)


def _scrapes(interval_s: float, end_s: float) -> Iterator[tuple[float, float]]:
    low = PHASE_S
    while low + interval_s <= end_s:
        yield low, low + interval_s
        low += interval_s


def _host_j(r: Registers, low: float, high: float) -> float:
    return _kind_j(r, "cpu", low, high) + _kind_j(r, "dram", low, high)


def _kind_j(r: Registers, kind: str, low: float, high: float) -> float:
    zones = [zone for zone, of in r.zones().items() if of == kind]
    return sum(r.unwrapped_uj(zone, high) - r.unwrapped_uj(zone, low) for zone in zones) / 1e6


def _busy_s(r: Registers, low: float, high: float) -> float:
    return sum(r.busy_s(socket, high) - r.busy_s(socket, low) for socket in (0, 1))


def _cpu_s(r: Registers, job: Job, low: float, high: float) -> float:
    return (r.job_cpu_s(job, high) - r.job_cpu_s(job, low)) * len(job.cpus)


def _sample_gpus(r: Registers, bills: dict[int, list[float]], at: float, interval_s: float) -> None:
    node: Node = r.node
    for job in node.jobs:
        if job.start_s <= at < job.stop_s:
            bills[job.job_id][1] += sum(node.gpu_w(gpu, at) for gpu in job.gpus) * interval_s
