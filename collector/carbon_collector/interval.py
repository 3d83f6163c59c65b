# SPDX-License-Identifier: MIT
"""Between two readings: how much CPU time each job used on each socket, and how long it was there. Pure.

A job's cgroup is gone when its epilog runs, so its last CPU time is what the parent cgroup grew by beyond
the jobs that are still there; several that went in one interval share it by CPUs held x time alive.
"""

from __future__ import annotations

from typing import NamedTuple

from .cgroups import Usage
from .host import Topology
from .split import apportion


class Presence(NamedTuple):
    """A job during one interval, as far as its ledger and its cgroup tell.

    `start_us`, `end_us`: when it was there, on the monotonic clock, inside the interval; `usage` and `before`:
    its cgroup now and at the last reading (`None`: not there); `gone`: it ended or its cgroup vanished.
    """

    start_us: int
    end_us: int
    cpus: int
    usage: Usage | None
    before: Usage | None
    gone: bool


def spread(usage_us: int, by_socket: dict[int, int], busy: dict[int, int], topology: Topology) -> dict[int, int]:
    """CPU time by socket: as the kernel gives it, else by how busy each socket was, else by its CPUs."""
    if by_socket or not busy:
        return dict(by_socket)
    sockets = sorted(busy)
    weights = [busy[s] for s in sockets]
    if not any(weights):
        weights = [topology.cpus_on(s) for s in sockets]
    return dict(zip(sockets, apportion(usage_us, weights))) if any(weights) else {}


def growth(now: Usage, before: Usage | None) -> tuple[Usage, bool]:
    """What a cgroup used since `before`, and whether it was made anew since (its count went down)."""
    if before is None or now.cpu_us < before.cpu_us:
        return now, before is not None
    by_socket = {s: max(0, us - before.by_socket.get(s, 0)) for s, us in now.by_socket.items()}
    return Usage(now.cpu_us - before.cpu_us, by_socket, now.memory), False


def cpu_times(
    jobs: list[Presence],
    parent: Usage | None,
    parent_before: Usage | None,
    busy: dict[int, int],
    topology: Topology,
) -> list[dict[int, int]]:
    """CPU microseconds of each job on each socket in the interval, in the order of `jobs`."""
    times: list[dict[int, int]] = []
    remade: list[bool] = []
    for job in jobs:
        used, anew = growth(job.usage, job.before) if job.usage else (Usage(0, {}, 0), False)
        times.append(spread(used.cpu_us, used.by_socket, busy, topology))
        remade.append(anew)
    if parent is None:
        return times
    whole = growth(parent, parent_before)[0]
    missing = spread(whole.cpu_us, whole.by_socket, busy, topology)
    for used_on in times:
        for socket, us in used_on.items():
            missing[socket] = missing.get(socket, 0) - us
    heirs = _heirs(jobs, remade)
    weights = [max(1, jobs[i].cpus) * max(1, jobs[i].end_us - jobs[i].start_us) for i in heirs]
    for socket, us in missing.items():
        if us > 0 and heirs:
            for i, part in zip(heirs, apportion(us, weights)):
                times[i][socket] = times[i].get(socket, 0) + part
    return times


def _heirs(jobs: list[Presence], remade: list[bool]) -> list[int]:
    """Who the parent's unexplained growth belongs to: jobs that went; else jobs never seen (steps came and went)."""
    gone = [i for i, job in enumerate(jobs) if job.gone or remade[i]]
    return gone or [i for i, job in enumerate(jobs) if job.usage is None]


def overlap(start_us: int, end_us: int, low_us: int, high_us: int) -> int:
    """Length of the part of [start, end) inside [low, high)."""
    return max(0, min(end_us, high_us) - max(start_us, low_us))
