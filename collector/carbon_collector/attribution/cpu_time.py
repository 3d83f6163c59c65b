# SPDX-License-Identifier: MIT
"""Finds the CPU time that each job used on each socket between two readings. Pure.

A job's cgroup is gone when its epilog runs. Its last CPU time, the tail, is therefore what the parent cgroup grew by
beyond the jobs that are still there. Several jobs that went in one interval share it: by what the CPUs of each were
busy, if the job was confined to CPUs of its own, else by CPUs held x time alive, which is a guess and is said to be one.
Where no cgroup shows the CPU time of jobs at all, what was busy on the node is divided in the same way.
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


NEGLIGIBLE = 100
"""A guess that is less than a hundredth of what is known of the CPU time makes it no guess."""


class Presence(NamedTuple):
    """A job during one interval, as its ledger and its cgroup show it.

    `start_us`, `end_us`: when it was there, on the monotonic clock, inside the interval; `held`: thousandths of CPUs
    that it holds on each socket; `cpuset`: CPUs that its cgroup confines it to, where that is known; `usage` and
    `before`: its cgroup now, or just before it vanished, and at the last reading (`None`: never seen); `gone`: it ended
    or its cgroup vanished; `own`: CPU microseconds by socket for which CPUs that are its alone were busy, `None` where
    it has none or that is not known; `unaccounted`: no cgroup of it accounts for CPU time, although others of its have one.
    """

    start_us: int
    end_us: int
    held: dict[int, int]
    cpuset: tuple[int, ...]
    usage: Usage | None
    before: Usage | None
    gone: bool
    own: dict[int, int] | None = None
    unaccounted: bool = False

    @property
    def most_us(self) -> int:
        """The most CPU time that the job can have used on the CPUs that it holds."""
        return max(MILLI, sum(self.held.values())) * max(TICK_US, self.end_us - self.start_us) // MILLI


class Times(NamedTuple):
    """CPU microseconds of each job by socket, and whether a job's are a guess: divided by what each job holds."""

    used: list[dict[int, int]]
    guessed: list[bool]


def is_confined(cpus: int | None, cpuset: tuple[int, ...], topology: Topology) -> bool:
    """Return whether a cpuset confines a job to what Slurm gave it.

    Without ConstrainCores it holds all CPUs of the node, and on emulated nodes it may hold fewer than the job's.
    """
    return (cpus or 1) <= sum(1 for cpu in cpuset if cpu in topology.socket_of) < topology.cpus


def held(cpus: int | None, cpuset: tuple[int, ...], topology: Topology, slurm_cpus: int = 0) -> dict[int, int]:
    """Return the thousandths of CPUs held on each socket: by a cpuset that confines the job, else its CPUs spread like
    the node's.

    The job's `cpus` are Slurm's, of the `slurm_cpus` that Slurm counts on the node (0: as many as Linux). Slurm may count
    cores where Linux counts hardware threads.
    """
    sockets = set(topology.socket_of.values())
    if is_confined(cpus, cpuset, topology):
        own = [topology.socket_of[cpu] for cpu in cpuset if cpu in topology.socket_of]
        return {s: MILLI * own.count(s) for s in sockets}
    of = slurm_cpus or max(1, topology.cpus)
    return {s: MILLI * (cpus or 0) * topology.cpus_on(s) // of for s in sockets}


def own_busy(cpusets: list[tuple[int, ...]], grown: dict[int, int], topology: Topology) -> list[dict[int, int] | None]:
    """Return, for each job, for how long the CPUs of its cpuset were busy, by socket; `None` for an empty cpuset, or
    where another job may use one of the CPUs, or where it is not known.

    `cpusets`: CPUs of the jobs that are confined, empty for the others; `grown`: CPU microseconds by CPU.
    """
    holders: dict[int, int] = {}
    for cpuset in cpusets:
        for cpu in cpuset:
            holders[cpu] = holders.get(cpu, 0) + 1
    busy_by_job: list[dict[int, int] | None] = []
    for cpuset in cpusets:
        if not cpuset or not all(holders[cpu] == 1 and cpu in grown for cpu in cpuset):
            busy_by_job.append(None)
            continue
        busy: dict[int, int] = {}
        for cpu in cpuset:
            socket = topology.socket_of.get(cpu, 0)
            busy[socket] = busy.get(socket, 0) + grown[cpu]
        busy_by_job.append(busy)
    return busy_by_job


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
    return sorted(allowed & busy.keys() or busy)


def _spread_all(
    parts: list[tuple[Usage, tuple[int, ...]]], busy: dict[int, int], topology: Topology
) -> list[dict[int, int]]:
    """Return the CPU time of each part by socket.

    Parts that are confined to one socket come first; the others are spread by what was busy beyond those. Otherwise
    the parts of a socket could add up to more than its busy time.
    """
    found: list[dict[int, int]] = [{} for _ in parts]
    left = dict(busy)
    others = []
    for place, (used, cpuset) in enumerate(parts):
        if len(_sockets(cpuset, busy, topology)) != 1:
            others.append(place)
            continue
        found[place] = spread(used, cpuset, busy, topology)
        for socket, us in found[place].items():
            left[socket] = max(0, left.get(socket, 0) - us)
    for place in others:
        found[place] = spread(*parts[place], left, topology)
    return found


def growth(now: Usage, before: Usage | None) -> tuple[Usage, bool]:
    """Return what a cgroup used since `before`, and whether it was made anew since then.

    One that was made anew has another inode, or its count went down.
    """
    if before is None:
        return now, False
    if now.cpu_us < before.cpu_us or (now.inode and before.inode and now.inode != before.inode):
        return now, True
    by_socket = {s: max(0, us - before.by_socket.get(s, 0)) for s, us in now.by_socket.items()}
    return Usage(now.cpu_us - before.cpu_us, by_socket, now.memory), False


def _growth_of_parent(now: Usage, before: Usage | None) -> tuple[Usage, bool]:
    """Return what the parent cgroup used since `before`, and whether it was made, or found, only since then.

    On v2 the parent is a difference of two files that are read one after the other (its own and that of slurmstepd's
    child), so it may seem to fall a little. Only one that fell by half was made anew: taken for that, a small fall
    would give a job the CPU time of every job since boot.
    """
    if before is not None and now.inode == before.inode and before.cpu_us // 2 < now.cpu_us < before.cpu_us:
        return NOTHING, False
    grown, is_anew = growth(now, before)
    return grown, is_anew or before is None


def caught_up(parent: Usage, before: Usage | None, grown: list[Usage]) -> Usage:
    """Return the parent as it was a moment later, when its jobs were read: it had used at least what they had.

    Otherwise what the jobs were ahead of it would be counted again, in the tail of the job that ends next. `grown`:
    what each present job used since the last reading, or since its beginning if the last reading did not know it.
    """
    if before is None or parent.cpu_us < before.cpu_us // 2 or parent.inode != before.inode:
        before = NOTHING  # never seen, or made anew: its jobs with it
    least = before.cpu_us + sum(used.cpu_us for used in grown)
    by_socket = {
        socket: max(us, before.by_socket.get(socket, 0) + sum(used.by_socket.get(socket, 0) for used in grown))
        for socket, us in parent.by_socket.items()
    }
    return Usage(max(parent.cpu_us, least), by_socket, parent.memory, parent.inode)


def cpu_times(
    jobs: list[Presence],
    parent: Usage | None,
    parent_before: Usage | None,
    busy: dict[int, int],
    topology: Topology,
    others: list[Usage] | tuple[()] = (),
) -> Times:
    """Return the CPU time of each job on each socket in the interval, in the order of `jobs`.

    `others`: what cgroups used that belong to no open job (not yet, or no longer). `parent` and `parent_before` are
    `None` where no cgroup holds the jobs of this node; then only /proc/stat (`busy`, by socket) shows what was used. A
    parent that could not be read once is made up for in the next interval.
    """
    grown = [growth(job.usage, job.before) if job.usage else (NOTHING, False) for job in jobs]
    parts = [(used, job.cpuset) for job, (used, _) in zip(jobs, grown)]
    if parent is None and parent_before is None:
        return _without_parent(jobs, _spread_all(parts, busy, topology), busy)
    heirs = _heirs(jobs, [anew for _, anew in grown])
    guessed = [False] * len(jobs)
    if parent is not None and heirs:
        whole, is_new = _growth_of_parent(parent, parent_before)
        rest = _rest(whole, [*(used for used, _ in grown), *others])
        if is_new:  # what it counted before it was found is not this interval's
            rest = _at_most(rest, sum(busy.values()) + TICK_US * topology.cpus)
        tails, is_guess = _tails(rest, [jobs[i] for i in heirs], [grown[i][0] for i in heirs])
        parts += [(tail, jobs[i].cpuset) for i, tail in zip(heirs, tails)]
        for i in heirs:
            guessed[i] = is_guess
    times = _spread_all(parts, busy, topology)
    for i, tail in zip(heirs, times[len(jobs) :]):  # none where there is no parent
        for socket, us in tail.items():
            times[i][socket] = times[i].get(socket, 0) + us
    unknown = [i for i, job in enumerate(jobs) if job.unaccounted]
    _guess(jobs, unknown, times[: len(jobs)], busy)
    return Times(times[: len(jobs)], [guess or jobs[i].unaccounted for i, guess in enumerate(guessed)])


def _without_parent(jobs: list[Presence], times: list[dict[int, int]], busy: dict[int, int]) -> Times:
    """Return the CPU times where no cgroup shows those of all jobs: a guess for the others, from what the node was busy."""
    unknown = [i for i, job in enumerate(jobs) if job.usage is None]
    _guess(jobs, unknown, times, busy)
    return Times(times, [job.usage is None for job in jobs])


def _guess(jobs: list[Presence], unknown: list[int], times: list[dict[int, int]], busy: dict[int, int]) -> None:
    """Put a guess into the times of jobs that are not known, from what the node was busy beyond the others.

    A job's guess is at most what its own CPUs were busy, or all of the CPUs that it holds; the rest is the system's.
    """
    if not unknown:
        return
    for socket, us in busy.items():
        left = max(0, us - sum(used.get(socket, 0) for used in times))
        most = [_most_on(jobs[i], socket) for i in unknown]
        parts = most if sum(most) <= left else apportion(left, most)
        for i, part in zip(unknown, parts):
            times[i][socket] = part


def _most_on(job: Presence, socket: int) -> int:
    if job.own is not None:
        return job.own.get(socket, 0)
    return job.held.get(socket, 0) * max(0, job.end_us - job.start_us) // MILLI


def _rest(whole: Usage, parts: list[Usage]) -> Usage:
    """Return what the parent cgroup grew by beyond the present jobs; by socket where the kernel gives that."""
    by_socket = {s: max(0, us - sum(p.by_socket.get(s, 0) for p in parts)) for s, us in whole.by_socket.items()}
    return Usage(max(0, whole.cpu_us - sum(p.cpu_us for p in parts)), by_socket, 0)


def _tails(rest: Usage, heirs: list[Presence], known: list[Usage]) -> tuple[list[Usage], bool]:
    """Divide what nobody else used among the jobs that went, and return whether that is a guess.

    Who was confined to CPUs of its own has used no more of them than they were busy. What is left is divided by CPUs
    held x time alive; among several jobs that is a guess, unless it is next to nothing.
    """
    own = [_left_of_own(job, used) for job, used in zip(heirs, known)]
    loose = [i for i, busy in enumerate(own) if busy is None]
    totals = [sum(busy.values()) if busy else 0 for busy in own]
    is_known = not loose and any(totals)
    if is_known:
        weights = totals
    else:
        confined = sum(totals)
        left = max(0, rest.cpu_us - confined)
        held = [max(1, sum(job.held.values())) * max(1, job.end_us - job.start_us) for job in heirs]
        receivers = loose or list(range(len(heirs)))
        shares = dict(zip(receivers, apportion(left, [held[i] for i in receivers])))
        weights = [min(total, rest.cpu_us) + shares.get(i, 0) for i, total in enumerate(totals)]
        is_known = len(receivers) == 1 or left <= max(2 * TICK_US, sum(used.cpu_us for used in known) // NEGLIGIBLE)
        weights = weights if any(weights) else held
    tails = [Usage(cpu_us, {}, 0) for cpu_us in apportion(rest.cpu_us, weights)]
    for socket, us in rest.by_socket.items():
        on_socket = [weight if busy is None else busy.get(socket, 0) for weight, busy in zip(weights, own)]
        for tail, part in zip(tails, apportion(us, on_socket if any(on_socket) else weights)):
            tail.by_socket[socket] = part
    return [_bounded(tail, job) for tail, job in zip(tails, heirs)], not is_known


def _left_of_own(job: Presence, known: Usage) -> dict[int, int] | None:
    """Return the CPU time of a job's own CPUs that its cgroup does not account for, in microseconds by socket.

    None where the job has no CPUs of its own.
    """
    if job.own is None:
        return None
    total = sum(job.own.values())
    left = max(0, total - known.cpu_us)
    return dict(zip(job.own, apportion(left, list(job.own.values())))) if total else job.own


def _bounded(tail: Usage, job: Presence) -> Usage:
    """Return the tail of a job, limited to its CPUs x time if it has only just begun and has no cgroup yet.

    The cgroups of many busy CPUs are never read at one instant, and what the parent is ahead of its jobs must not all
    go to such a job.
    """
    return tail if job.gone or job.usage or job.before else _at_most(tail, job.most_us)


def _at_most(used: Usage, most_us: int) -> Usage:
    if used.cpu_us <= most_us:
        return used
    return Usage(most_us, {s: us * most_us // used.cpu_us for s, us in used.by_socket.items()}, used.memory)


def _heirs(jobs: list[Presence], remade: list[bool]) -> list[int]:
    """Return whose the parent's unexplained growth is: jobs that went; else jobs never seen, whose steps came and went."""
    gone = [i for i, job in enumerate(jobs) if (job.gone or remade[i]) and not job.unaccounted]
    return gone or [i for i, job in enumerate(jobs) if job.usage is None and not job.unaccounted]


def overlap(start_us: int, end_us: int, low_us: int, high_us: int) -> int:
    """Return the length of the part of [start, end) inside [low, high)."""
    return max(0, min(end_us, high_us) - max(start_us, low_us))
