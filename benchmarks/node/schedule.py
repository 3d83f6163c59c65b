# SPDX-License-Identifier: MIT
"""A day in the life of shared nodes, made up from a seed: who runs where, how long, and doing what.

Lengths are spread evenly over the decades from 1 to 300 s; sizes from one CPU to half a node; jobs compute,
sleep, fill memory, or keep GPUs busy. Some come as arrays, whose tasks end within the same moment.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

from .physics import SOCKETS, Hardware, Job, Node, Phase

KINDS = ("cpu", "cpu", "waves", "idle", "memory", "gpu")
SIZES = (1, 1, 2, 4, 4, 8, 16)
IDLE_W = (60.0, 30.0, 110.0)
"""Idle power of a socket: 29, 17 and 43 % of its power under full load."""
TASK_USE = (0.01, 0.3, 1.0)
"""CPU use of the tasks of an array, as a part of what their submission would use."""
LONGEST_S = 300.0
FIRST_S = 60.0
"""When the first job comes: the collector, where it is a service, has seen the node idle."""


def make(
    seed: int, nodes: int, jobs_per_node: int, span_s: float, times: float = 1.0, first: int = 0, arrays: bool = False
) -> list[Node]:
    """Return nodes with their jobs, all drawing alike. Every other node has four GPUs.

    Jobs are `times` as long and come that many times as far apart; `first` is the number of the first node; with
    `arrays` every submission is an array whose tasks differ in use and end within the same moment.
    """
    rng = random.Random(seed)  # noqa: S311 - the same schedule each time is the point
    return [_node(rng, first + i, jobs_per_node, span_s, times, arrays) for i in range(nodes)]


def restless(nodes: list[Node]) -> list[Node]:
    """Return the same jobs on nodes that are never idle: the system keeps a CPU of each socket busy, which no job has."""
    return [_with_a_busy_cpu_more(node) for node in nodes]


def _with_a_busy_cpu_more(node: Node) -> Node:
    """Return a node with one CPU more on each socket. A CPU of the jobs' cannot be kept busy twice."""
    before = node.hardware
    jobs = [replace(job, cpus=tuple(cpu + before.socket_of(cpu) for cpu in job.cpus)) for job in node.jobs]
    return replace(node, jobs=jobs, hardware=replace(before, cpus=before.cpus + SOCKETS, system_cpu=1.0))


def unlike(nodes: list[Node], seed: int, by_submission: bool = False) -> list[Node]:
    """Return the same jobs drawing 0.8 to 1.25 of the common watts, evenly on a logarithmic scale.

    Each task draws its own, or all tasks of a submission draw alike.
    """
    rng = random.Random(seed)  # noqa: S311 - as above
    unlike_nodes = []
    for node in nodes:
        of = {(job.submission if by_submission else job.job_id): 1.0 for job in node.jobs}
        of = {key: math.exp(rng.uniform(math.log(0.8), math.log(1.25))) for key in of}
        jobs = [replace(job, factor=of[job.submission if by_submission else job.job_id]) for job in node.jobs]
        unlike_nodes.append(replace(node, jobs=jobs))
    return unlike_nodes


def _node(rng: random.Random, index: int, count: int, span_s: float, times: float, arrays: bool) -> Node:
    gpus = tuple(f"GPU-{index}-{i}" for i in range(4)) if index % 2 else ()
    hardware = Hardware(idle_w=IDLE_W[index % len(IDLE_W)])
    jobs: list[Job] = []
    at, submission = FIRST_S, 0
    while len(jobs) < count:
        tasks = rng.choice((2, 3, 4, 8) if arrays else (1, 1, 1, 1, 3))
        job = _job(rng, len(jobs), at, bool(gpus), times)
        for _ in range(min(tasks, count - len(jobs))):
            placed = _place(_task(rng, job) if arrays else job, jobs, hardware, gpus)
            jobs.append(replace(placed, job_id=1000 * (index + 1) + len(jobs), submission=submission))
        at += rng.expovariate(count / span_s) * times * (tasks if arrays else 1)
        submission += 1
    return Node(f"n{index}", jobs, hardware, gpus)


def _task(rng: random.Random, job: Job) -> Job:
    """Return one task of an array: it sleeps, works a little or works fully, and ends up to 20 ms after the others."""
    busy, late = rng.choice(TASK_USE), rng.uniform(0.0, 0.02)
    size = rng.choice((1, 1, 2, 4))
    phases = tuple(replace(phase, cpu=phase.cpu * busy) for phase in job.phases)
    times = {name: getattr(job, name) + late for name in ("start_s", "stop_s", "close_s")}
    return replace(job, cpus=tuple(range(size)), phases=phases, **times)


def _job(rng: random.Random, number: int, at: float, has_gpus: bool, times: float) -> Job:
    kind = KINDS[number % len(KINDS)]
    kind = "cpu" if kind == "gpu" and not has_gpus else kind
    seconds = times * math.exp(rng.uniform(0.0, math.log(LONGEST_S)))
    cpus = rng.choice(SIZES)
    phases = _phases(rng, kind, seconds, cpus)
    start = at + rng.uniform(0.05, 0.15)  # slurmstepd starts the first step
    stop = start + seconds
    close = stop + rng.uniform(0.01, 0.06)
    gib = 2.0 * max(phase.gib for phase in phases) + 1.0
    gpus = ("?",) * rng.choice((1, 1, 2)) if kind == "gpu" else ()
    return Job(0, kind, tuple(range(cpus)), gpus, gib, at, start, stop, close, phases)


def _phases(rng: random.Random, kind: str, seconds: float, cpus: int) -> tuple[Phase, ...]:
    own = rng.uniform(0.2, 1.0) * cpus
    if kind == "idle":
        return (Phase(seconds, 0.001, 0.1),)
    if kind == "memory":
        return (Phase(seconds * 0.2, 1.0, 2 * cpus), Phase(seconds * 0.8, 0.4, 5 * cpus))
    if kind == "gpu":
        return (Phase(seconds * 0.1, 1.0, own, 0.0), Phase(seconds * 0.9, 0.3, own, rng.uniform(0.3, 1.0)))
    if kind == "waves":
        part = max(0.5, seconds / 12)
        pairs = int(seconds / part)
        rates = [(1.0, 0.15)[i % 2] for i in range(max(1, pairs))]
        return tuple(Phase(seconds / len(rates), rate, own) for rate in rates)
    return (Phase(seconds, rng.uniform(0.85, 1.0), own),)


def _place(job: Job, others: list[Job], hardware: Hardware, gpus: tuple[str, ...]) -> Job:
    """Put the job where its CPUs and GPUs are free, as early as they are."""
    at = job.open_s
    while True:
        there = [o for o in others if o.held_s(at, at + job.seconds)]
        free = [c for c in range(hardware.cpus) if not any(c in o.cpus for o in there)]
        free_gpus = [g for g in gpus if not any(g in o.gpus for o in there)]
        free_gib = hardware.memory_gib - sum(o.gib_requested for o in there)
        if len(free) >= len(job.cpus) and len(free_gpus) >= len(job.gpus) and free_gib >= job.gib_requested:
            break
        at = min(o.close_s for o in there if o.close_s > at) + 0.05
    late = at - job.open_s
    times = {name: getattr(job, name) + late for name in ("open_s", "start_s", "stop_s", "close_s")}
    return replace(job, cpus=tuple(free[: len(job.cpus)]), gpus=tuple(free_gpus[: len(job.gpus)]), **times)
