# SPDX-License-Identifier: MIT
"""Finds the CPU time that each job used on each socket between two readings. Pure.

A job's cgroup is gone when its epilog runs. Its last CPU time is therefore what the parent cgroup grew by beyond the
jobs that are still there; several jobs that went in one interval share it by CPUs held x time alive.
"""

from __future__ import annotations

from ..apportion import apportion
from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..usage import Usage

if TYPE_CHECKING:
    from ..topology import Topology

NOTHING = Usage(0, {}, 0)
"""The usage of a cgroup that has used nothing."""

TICK_US = 10_000
"""Precision of an instant: two clocks of the kernel are read one after the other."""

MILLI = 1000
"""Unit of CPUs held: thousandths, so that a share of a socket is an integer."""


class Presence(NamedTuple):
    """A job during one interval, as its ledger and its cgroup show it.

    `start_us`, `end_us`: when it was there, on the monotonic clock, inside the interval; `held`: thousandths of CPUs
    that it holds on each socket; `cpuset`: CPUs that its cgroup confines it to, where that is known; `usage` and
    `before`: its cgroup now and at the last reading (`None`: not there); `gone`: it ended or its cgroup vanished.
    """

    start_us: int
    end_us: int
    held: dict[int, int]
    cpuset: tuple[int, ...]
    usage: Usage | None
    before: Usage | None
    gone: bool


def held(cpus: int | None, cpuset: tuple[int, ...], topology: Topology, slurm_cpus: int = 0) -> dict[int, int]:
    """Return the thousandths of CPUs held on each socket: by the cpuset, else the job's CPUs spread like the node's.

    The job's `cpus` are Slurm's, of the `slurm_cpus` that Slurm counts on the node (0: as many as Linux). Slurm may count
    cores where Linux counts hardware threads.

    A cpuset counts only if it confines the job to what Slurm gave it. Without ConstrainCores it holds all CPUs of the
    node, and on emulated nodes it may hold fewer than the job's.
    """
    own = [cpu for cpu in cpuset if cpu in topology.socket_of]
    confined = (cpus or 1) <= len(own) < topology.cpus
    sockets = set(topology.socket_of.values())
    if confined:
        return {s: MILLI * sum(1 for cpu in own if topology.socket_of[cpu] == s) for s in sockets}
    of = slurm_cpus or max(1, topology.cpus)
    return {s: MILLI * (cpus or 0) * topology.cpus_on(s) // of for s in sockets}


def spread(used: Usage, cpuset: tuple[int, ...], weight: dict[int, int], topology: Topology) -> dict[int, int]:
    """Return CPU time by socket: as the kernel gives it, else over the cpuset's sockets by `weight`, else by its CPUs."""
    if used.by_socket or not weight:
        return dict(used.by_socket)
    sockets = _sockets(cpuset, weight, topology)
    weights = [weight[s] for s in sockets]
    if not any(weights):
        own = cpuset or topology.socket_of
        weights = [sum(1 for cpu in own if topology.socket_of.get(cpu) == s) for s in sockets]
    return dict(zip(sockets, apportion(used.cpu_us, weights))) if any(weights) else {}


def _sockets(cpuset: tuple[int, ...], busy: dict[int, int], topology: Topology) -> list[int]:
    allowed = {topology.socket_of[cpu] for cpu in cpuset if cpu in topology.socket_of}
    return sorted(socket for socket in busy if socket in allowed) or sorted(busy)


def _spread_all(
    parts: list[tuple[Usage, tuple[int, ...]]], busy: dict[int, int], topology: Topology
) -> list[dict[int, int]]:
    """Return the CPU time of each part by socket.

    Parts that are confined to one socket come first; the others are spread by what was busy beyond those. Otherwise
    the parts of a socket could add up to more than its busy time.
    """
    alone = [len(_sockets(cpuset, busy, topology)) == 1 for _, cpuset in parts]
    left = dict(busy)
    for (used, cpuset), is_alone in zip(parts, alone):
        if is_alone:
            for socket, us in spread(used, cpuset, busy, topology).items():
                left[socket] = max(0, left.get(socket, 0) - us)
    return [
        spread(used, cpuset, busy if is_alone else left, topology) for (used, cpuset), is_alone in zip(parts, alone)
    ]


def growth(now: Usage, before: Usage | None) -> tuple[Usage, bool]:
    """Return what a cgroup used since `before`, and whether it was made anew since then (its count went down)."""
    if before is None or now.cpu_us < before.cpu_us:
        return now, before is not None
    by_socket = {s: max(0, us - before.by_socket.get(s, 0)) for s, us in now.by_socket.items()}
    return Usage(now.cpu_us - before.cpu_us, by_socket, now.memory), False


def _growth_of_parent(now: Usage, before: Usage | None) -> Usage:
    """Return what the parent cgroup used since `before`.

    On v2 the parent is a difference of two files that are read one after the other (its own and that of slurmstepd's
    child), so it may seem to fall a little. Only one that fell by half was made anew: taken for that, a small fall
    would give a job the CPU time of every job since boot.
    """
    if before is not None and before.cpu_us // 2 < now.cpu_us < before.cpu_us:
        return NOTHING
    return growth(now, before)[0]


def caught_up(parent: Usage, before: Usage | None, grown: list[Usage]) -> Usage:
    """Return the parent as it was a moment later, when its jobs were read: it had used at least what they had.

    Otherwise what the jobs were ahead of it would be counted again, in the tail of the job that ends next. `grown`:
    what each present job used since the last reading, or since its beginning if the last reading did not know it.
    """
    if before is None or parent.cpu_us < before.cpu_us // 2:
        before = NOTHING  # never seen, or made anew: its jobs with it
    least = before.cpu_us + sum(used.cpu_us for used in grown)
    by_socket = {
        socket: max(us, before.by_socket.get(socket, 0) + sum(used.by_socket.get(socket, 0) for used in grown))
        for socket, us in parent.by_socket.items()
    }
    return Usage(max(parent.cpu_us, least), by_socket, parent.memory)


def cpu_times(
    jobs: list[Presence],
    parent: Usage | None,
    parent_before: Usage | None,
    busy: dict[int, int],
    topology: Topology,
    others: list[Usage] | tuple[()] = (),
) -> list[dict[int, int]]:
    """Return the CPU microseconds of each job on each socket in the interval, in the order of `jobs`.

    `others`: what cgroups used that belong to no open job (not yet, or no longer).
    """
    grown = [growth(job.usage, job.before) if job.usage else (NOTHING, False) for job in jobs]
    heirs = _heirs(jobs, [anew for _, anew in grown])
    parts = [(used, job.cpuset) for job, (used, _) in zip(jobs, grown)]
    if parent is not None and heirs:
        rest = _rest(_growth_of_parent(parent, parent_before), [*(used for used, _ in grown), *others])
        weights = [max(1, sum(jobs[i].held.values())) * max(1, jobs[i].end_us - jobs[i].start_us) for i in heirs]
        tails = [_bounded(tail, jobs[i]) for i, tail in zip(heirs, _divide(rest, weights))]
        parts += [(tail, jobs[i].cpuset) for i, tail in zip(heirs, tails)]
    times = _spread_all(parts, busy, topology)
    for i, tail in zip(heirs, times[len(jobs) :]):
        for socket, us in tail.items():
            times[i][socket] = times[i].get(socket, 0) + us
    return times[: len(jobs)]


def _rest(whole: Usage, parts: list[Usage]) -> Usage:
    """Return what the parent cgroup grew by beyond the present jobs; by socket where the kernel gives that."""
    by_socket = {s: max(0, us - sum(p.by_socket.get(s, 0) for p in parts)) for s, us in whole.by_socket.items()}
    return Usage(max(0, whole.cpu_us - sum(p.cpu_us for p in parts)), by_socket, 0)


def _divide(rest: Usage, weights: list[int]) -> list[Usage]:
    totals = apportion(rest.cpu_us, weights)
    by_socket = {socket: apportion(us, weights) for socket, us in rest.by_socket.items()}
    return [Usage(total, {s: us[i] for s, us in by_socket.items()}, 0) for i, total in enumerate(totals)]


def _bounded(tail: Usage, job: Presence) -> Usage:
    """Return the tail of a job, limited to its CPUs x time if it has only just begun and has no cgroup yet.

    The cgroups of many busy CPUs are never read at one instant, and what the parent is ahead of its jobs must not all
    go to such a job.
    """
    most_us = max(MILLI, sum(job.held.values())) * max(TICK_US, job.end_us - job.start_us) // MILLI
    if job.gone or job.usage or job.before or tail.cpu_us <= most_us:
        return tail
    return Usage(most_us, {s: us * most_us // tail.cpu_us for s, us in tail.by_socket.items()}, tail.memory)


def _heirs(jobs: list[Presence], remade: list[bool]) -> list[int]:
    """Return whose the parent's unexplained growth is: jobs that went; else jobs never seen, whose steps came and went."""
    gone = [i for i, job in enumerate(jobs) if job.gone or remade[i]]
    return gone or [i for i, job in enumerate(jobs) if job.usage is None]


def overlap(start_us: int, end_us: int, low_us: int, high_us: int) -> int:
    """Return the length of the part of [start, end) inside [low, high)."""
    return max(0, min(end_us, high_us) - max(start_us, low_us))
