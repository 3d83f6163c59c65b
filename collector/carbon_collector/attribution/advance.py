# SPDX-License-Identifier: MIT
"""Moves the books from one snapshot to the next. No I/O.

Whatever happens between two snapshots, what a meter counted is in the rows exactly once: divided among the jobs that
were there, idle and system.
"""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING
from ..meters.base import COUNTER, Reading
from ..units import USER_HZ_US
from ..usage import Usage
from . import cpu_time, slots
from .counter import NOT_MOVED, STANDS_STILL, STILL_US, Counter, Energy, delta
from .cpu_time import Presence
from .idle_power import QUIET_BUSY
from .memory_use import memory_use
from .posting import post, post_late
from .work import Work, pieces_of

if TYPE_CHECKING:
    from ..meters.base import Domain
    from .books import Books
    from .ledger import Ledger
    from .snapshot import Snapshot

READABLE_NOW = "readable only since now"
CPU_GUESSED = "shared by CPUs held: no cgroup shows the job's own CPU time"
TAIL_GUESSED = "shared by CPUs held: jobs ended together, and how much each used last was not seen"
QUIET_MEMORY = 0.002
"""Share of the node's memory that jobs may use while its idle power is learned: half a GiB of 256 GiB, which draw one
percent of the idle power."""
MEMORY_UNSEEN = "shared by memory held: no cgroup shows the job's own use"


def advance(books: Books, now: Snapshot) -> None:
    """Account for the time from the last snapshot to this one.

    Raises ClockWentBack, with the books unchanged, where that time lies in a slot that is sealed.
    """
    last = books.last
    pieces = books.pieces(_start(books, now), now.wall_us)
    parent = now.parent
    if last is None:
        books.doubts.judge(books.domains, None, now)
        _first(books, now)
    else:
        now, last = _believed(books, last, now)
        parent = _between(books, last, now, pieces)
    books.advanced(now, parent)


def _believed(books: Books, last: Snapshot, now: Snapshot) -> tuple[Snapshot, Snapshot]:
    """Return both snapshots with the readings that are believed.

    A counter that was reset counts from the last reading that was not believed then; what it counted before is unknown.
    """
    believed = books.doubts.judge(books.domains, last, now)
    before = dict(last.readings)
    for name, reading in believed.reset.items():
        books.overdue.give_up(name)
        if reading.at_us == last.mono_us:
            before[name] = Reading(reading.uj, "")
    for name, reading in believed.confirmed.items():
        if reading.at_us == last.mono_us:
            _settle(books, books.domains[name], reading.uj, reading.at_us, 0)
            before[name] = Reading(reading.uj, "")
    return now._replace(readings=believed.readings), last._replace(readings=before)


def _settle(books: Books, domain: Domain, uj: int, at_us: int, elapsed_us: int) -> Energy:
    """Book what a counter counted while it was not read, up to a reading. Returns the part of the last interval."""
    settled, why = books.overdue.settle(domain, uj, at_us, elapsed_us)
    if settled is None:
        return Energy(None, why)
    for blind, energy_uj in settled.late:
        post_late(books, blind, domain, energy_uj)
    return Energy(settled.current_uj, "")


def _start(books: Books, now: Snapshot) -> int:
    """Return the wall-clock time at which the interval began.

    It is reckoned back from now by the monotonic clock, so that a step of the wall clock loses and doubles nothing.
    """
    to_wall = now.wall_us - now.mono_us
    if books.last is None:
        opened = [ledger.open_mono_us + to_wall for ledger in books.ledgers.values() if not ledger.settled]
        return min([*opened, now.wall_us])
    return books.last.mono_us + to_wall


def _first(books: Books, now: Snapshot) -> None:
    """Book the jobs that are there at the first snapshot: their time until now was unmetered, and so was their CPU
    time.

    If that CPU time counted in the first interval, it would outweigh their neighbours'.
    """
    to_wall = now.wall_us - now.mono_us
    for ledger in books.ledgers.values():
        if not ledger.settled:
            end = now.mono_us if ledger.close_mono_us is None else ledger.close_mono_us
            ledger.seen(_usage(books, ledger, now))
            _unmetered(books, ledger, ledger.open_mono_us + to_wall, end + to_wall)


def _unmetered(books: Books, ledger: Ledger, start_us: int, end_us: int) -> None:
    pieces = books.pieces(start_us, max(start_us, end_us))
    used = None if ledger.last is None else slots.share_out(ledger.last.cpu_us, pieces)
    for p, (slot, start, end) in enumerate(pieces):
        row = books.job_row(ledger, slot)
        row.alloc_us += end - start
        row.cpu_us = row.cpu_us if used is None else (row.cpu_us or 0) + used[p]
        for name in books.components_of(ledger):
            row.component(name).blame(books.missing.get(name) or "before the collector's first reading")


def _between(books: Books, last: Snapshot, now: Snapshot, cuts: list[tuple[int, int, int]]) -> Usage | None:
    """Account for an interval. Returns the parent cgroup as the next interval has to take it."""
    elapsed = max(0, now.mono_us - last.mono_us)
    topology = books.topology
    ledgers = [ledger for ledger in books.ledgers.values() if not ledger.settled]
    jobs = _presences(books, ledgers, last, now)
    grown = {s: us - last.busy.get(s, us) for s, us in now.busy.items()}
    # A CPU that goes offline takes its line out of /proc/stat, and brings all of its past back.
    most = {s: topology.cpus_on(s) * (elapsed + USER_HZ_US) for s in grown}
    busy = {s: min(max(0, us), most[s]) for s, us in grown.items()}
    others = _others(books, last, now)
    before = last.parent if now.has_parent else None
    times, guessed = cpu_time.cpu_times(jobs, now.parent, before, busy, topology, others)
    system = {s: books.system_time(s, us - sum(used.get(s, 0) for used in times)) for s, us in busy.items()}
    energies = _energies(books, last, now, elapsed)
    books.faults = {name: energy.reason for name, energy in energies.items() if energy.uj is None}
    no_cgroup = [now.parent is None or job.unaccounted for job in jobs]
    reasons = [(CPU_GUESSED if none else TAIL_GUESSED) if guess else "" for none, guess in zip(no_cgroup, guessed)]
    memory, outside, unseen = memory_use(ledgers, jobs, now, books.memory_base, topology.cpus)
    if all(0 <= us <= 2 * most[s] for s, us in grown.items()):
        _learn(books, energies, elapsed, busy, now, ledgers, jobs, sum(memory) + outside)
    work = Work(
        ledgers=ledgers,
        jobs=jobs,
        cpu=times,
        # Without CPU accounting by cgroup (v1 with another JobAcctGatherType) CPU time is unknown, not 0.
        cpu_known=[job.usage is not None or not none for job, none in zip(jobs, no_cgroup)],
        memory=memory,
        system=system,
        system_memory=outside,
        memory_total=now.memory_total,
        energies=energies,
        activity=now.activity,
        shared=[_why_shared(why, new) for why, new in zip(reasons, unseen)],
        resumed=books.resumed,
    )
    books.guesses = {why for job, reasons in zip(jobs, work.shared) if not job.gone for why in reasons.values()}
    pieces = pieces_of(work, cuts, now.mono_us - now.wall_us)
    post(books, work, pieces)
    books.overdue.add(books.domains, last, now, work, pieces)
    seen = [
        cpu_time.growth(job.usage, job.before or _cgroup(ledger, last))[0]
        for ledger, job in zip(ledgers, jobs)
        if job.usage
    ]
    for ledger in ledgers:
        if now.parent is not None or before is None:  # else nothing could be seen: that says nothing of the job
            ledger.seen(_usage(books, ledger, now))
    # A parent that could not be read once has not been made anew: its growth counts from where it was seen.
    return cpu_time.caught_up(now.parent, before, seen) if now.parent else before


def _why_shared(cpu_why: str, memory_unseen: bool) -> dict[str, str]:
    """Return why a job's use of a component is not known, by component."""
    reasons = {"cpu": cpu_why} if cpu_why else {}
    return {**reasons, "dram": MEMORY_UNSEEN} if memory_unseen else reasons


def _presences(books: Books, ledgers: list[Ledger], last: Snapshot, now: Snapshot) -> list[Presence]:
    """Return how each job was there in the interval."""
    topology = books.topology
    confined = [
        ledger.cpuset if cpu_time.is_confined(ledger.job.cpus, ledger.cpuset, topology) else () for ledger in ledgers
    ]
    before, after = last.busy_cpus or {}, now.busy_cpus or {}
    grown = {cpu: max(0, us - before[cpu]) for cpu, us in after.items() if cpu in before}
    own = cpu_time.own_busy(confined, grown, topology)
    return [_presence(books, ledger, last, now, busy) for ledger, busy in zip(ledgers, own)]


def _presence(books: Books, ledger: Ledger, last: Snapshot, now: Snapshot, own: dict[int, int] | None) -> Presence:
    end = now.mono_us if ledger.close_mono_us is None else min(ledger.close_mono_us, now.mono_us)
    usage = _usage(books, ledger, now)
    ended = _named(ledger, now.ended or {}) if usage is None else None
    if ended is not None and ledger.last is not None and ended.cpu_us < ledger.last.cpu_us:
        ended = None  # of a task that ended before the last reading
    return Presence(
        start_us=max(ledger.open_mono_us, last.mono_us),
        end_us=max(end, ledger.open_mono_us, last.mono_us),
        held=cpu_time.held(ledger.job.cpus, ledger.cpuset, books.topology, books.slurm_cpus),
        cpuset=ledger.cpuset,
        usage=usage or ended,
        before=ledger.last,
        gone=ledger.closed_us is not None or (usage is None and (ledger.here or ended is not None)),
        own=own,
        unaccounted=usage is None and ended is None and not now.unaccounted.isdisjoint(ledger.cgroup_names),
    )


def _usage(books: Books, ledger: Ledger, now: Snapshot) -> Usage | None:
    """Return the usage of the job's cgroup if it is this run's: a requeued job has the same JobID, and the newest run
    has the cgroup.
    """
    if ledger.closed_us is not None and any(
        other.job.job_id == ledger.job.job_id and other.open_mono_us > ledger.open_mono_us
        for other in books.ledgers.values()
    ):
        return None
    return _cgroup(ledger, now)


def _cgroup(ledger: Ledger, at: Snapshot) -> Usage | None:
    return _named(ledger, at.jobs)


def _named(ledger: Ledger, usages: dict[str, Usage]) -> Usage | None:
    return next((usages[name] for name in ledger.cgroup_names if name in usages), None)


def _others(books: Books, last: Snapshot, now: Snapshot) -> list[Usage]:
    """Return what was used in cgroups that belong to no ledger, or belong to one only from this snapshot on."""
    own = {
        name
        for ledger in books.ledgers.values()
        if not ledger.settled
        for name in ledger.cgroup_names
        if name in now.jobs and ledger.last is not now.jobs[name]
    }
    return [cpu_time.growth(us, last.jobs.get(name))[0] for name, us in now.jobs.items() if name not in own]


def _energies(books: Books, last: Snapshot, now: Snapshot, elapsed: int) -> dict[str, Energy]:
    """Return the energy of each domain in the interval, without that of domains inside it."""
    gross = {name: _energy(books, domain, last, now, elapsed) for name, domain in books.domains.items()}
    energies = books.nesting.net(books.domains, gross, elapsed)
    for name, (energy_uj, _) in list(energies.items()):
        domain = books.domains[name]
        if domain.contains and energy_uj is not None:
            settled = books.overdue.caught_up(name, energy_uj, elapsed)
            for blind, late_uj in settled.late:
                post_late(books, blind, domain, late_uj)
            energies[name] = Energy(settled.current_uj, "")
    return energies


def _energy(books: Books, domain: Domain, last: Snapshot, now: Snapshot, elapsed: int) -> Energy:
    name = domain.name
    before, after = last.readings.get(name), now.readings.get(name)
    if after is None or after.energy_uj is None:
        return Energy(None, f"{name}: {after.reason if after else 'not read'}")
    if before is None or before.energy_uj is None:
        late = _settle(books, domain, after.energy_uj, now.mono_us, elapsed)
        why = late.reason or (before.reason if before else READABLE_NOW)
        return late if late.uj is not None else Energy(None, f"{name}: {why}")
    if domain.method == COUNTER and before.energy_uj == after.energy_uj:
        return _unmoved(domain, books.doubts.still_us(name, now.mono_us), name in books.doubts.moved)
    counted = delta(Counter(domain.range_uj, domain.max_watts), before.energy_uj, after.energy_uj, elapsed)
    if counted.energy_uj == 0 and books.faults.get(name) == f"{name}: {STANDS_STILL}":
        return Energy(None, books.faults[name])  # too short a look to say that it moves again
    if counted.energy_uj is not None and not domain.contains:
        for blind, _ in books.overdue.caught_up(name, 0, elapsed).late:
            post_late(books, blind, domain, 0)  # it moves, so it was not dead when it did not
    return Energy(counted.energy_uj, f"{name}: {counted.reason}" if counted.reason else "")


def _unmoved(domain: Domain, still_us: int, has_moved: bool) -> Energy:
    """Return what a counter drew that shows the same: nothing, if it moves soon. One that was never seen to move may be
    dead; one with others inside may be slow.
    """
    if still_us >= STILL_US:
        return Energy(None, f"{domain.name}: {STANDS_STILL}")
    return Energy(0, "" if has_moved or domain.contains else f"{domain.name}: {NOT_MOVED}")


def _learn(
    books: Books,
    energies: dict[str, Energy],
    elapsed: int,
    busy: dict[int, int],
    now: Snapshot,
    ledgers: list[Ledger],
    jobs: list[Presence],
    in_use: int,
) -> None:
    """Learn the idle power of every domain, and how much memory the system itself uses.

    `in_use` is the memory of the jobs and outside them, in bytes. It is to a memory module what busy CPUs are to a socket,
    because its energy is divided by it.
    """
    held = {name for ledger in ledgers for name in ledger.parts}
    topology = books.topology
    uses_memory = _use_memory(jobs, now)
    for name, (energy, _) in energies.items():
        domain = books.domains[name]
        if energy is None or domain.component == "other":
            continue
        if domain.component == "gpu":
            # A device is busy while somebody holds it: whether it is used cannot always be known.
            books.idle_of(name).learn(energy, elapsed, elapsed if name in held else 0, 1)
        else:
            cpus = topology.cpus_on(domain.socket) or topology.cpus
            used = busy[domain.socket] if domain.socket in busy else sum(busy.values())
            is_used = False
            if domain.component == "dram":
                is_used = uses_memory or used > QUIET_BUSY * cpus * elapsed  # which reads and writes it
                if now.memory_total:
                    used = cpus * elapsed * min(in_use, now.memory_total) // now.memory_total
            books.idle_of(name).learn(energy, elapsed, used, cpus, is_used)
    if now.memory is not None and not any(job.usage for job in jobs):
        # A job's cgroup holds its page cache, which MemAvailable does not count as used.
        books.learn_memory(now.memory)


def _use_memory(jobs: list[Presence], now: Snapshot) -> bool:
    """Return whether jobs use so much memory that it draws more than idle power, or may use it unseen."""
    used = [job.usage.memory for job in jobs if job.usage is not None]
    return None in used or sum(each or 0 for each in used) > now.memory_total * QUIET_MEMORY
