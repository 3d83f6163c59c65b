# SPDX-License-Identifier: MIT
"""The node's accounts: ledgers and rows, moved forward from one snapshot to the next. No I/O.

Whatever happens between two snapshots, what a meter counted is in the rows once: shared among the jobs that
were there, idle and system.
"""

from __future__ import annotations

from ..cgroups import Usage
from ..host import USER_HZ_US, Topology
from ..lean.named import TYPE_CHECKING
from ..meters.base import Domain, Reading
from ..units import SLOT_S, US_PER_S
from . import cpu_time, nesting, slots
from .counter import STANDS_STILL, Counter, delta
from .cpu_time import Presence
from .idle_power import IDLE_SHARE, IdlePower
from .ledger import Ledger
from .overdue import Overdue
from .posting import EVERY_NODES, Energy, Work, post
from .rows import Row
from .snapshot import Snapshot

if TYPE_CHECKING:
    from typing import Any


MAX_DEFICIT_US = 1_000_000
SLEW_US = 2_000_000
READABLE_NOW = "readable only since now"
NOT_SEEN = "power was not seen while no collector ran"


class Account:
    """Everything that must survive the collector: `save` and `load` are the state on disk."""

    def __init__(self, stream: str, topology: Topology, domains: dict[str, Domain], missing: dict[str, str]) -> None:
        self.stream = stream
        self.topology = topology
        self.domains = domains
        self.missing = missing
        self.sequence = 0
        self.revision = 0
        self.cluster = ""
        self.last: Snapshot | None = None
        self.last_sealed = 0
        self.memory_total = 0
        self.memory_base: int | None = None
        self.deficit: dict[int, int] = {}
        self.owed: dict[str, int] = {}
        self.faults: dict[str, str] = {}
        self.overdue = Overdue()
        self.resumed = False
        self.idle: dict[str, IdlePower] = {}
        self.ledgers: dict[tuple[int, str], Ledger] = {}
        self.rows: dict[tuple[int, str, int], Row] = {}
        self.recent: dict[str, int] = {}
        self._to_wall: int | None = None

    # -- moving forward ---------------------------------------------------------------------------------------

    def open(self, ledger: Ledger) -> None:
        """Take in a new ledger; what began before the last reading is put at that reading.

        A node has one run of a JobID at a time: an older one whose epilog was never heard of has ended.
        """
        late = self._late(ledger.open_mono_us)
        ledger.opened_us += late
        ledger.open_mono_us += late
        for other in self.ledgers.values():
            if other.job.job_id == ledger.job.job_id:
                self.close(other, ledger.opened_us, ledger.open_mono_us)
        self.ledgers[ledger.key] = ledger

    def close(self, ledger: Ledger, wall_us: int, mono_us: int) -> None:
        """Seal a ledger, not before the last reading: the rows have the job until then. The first end counts."""
        late = self._late(mono_us)
        ledger.close(wall_us + late, mono_us + late)

    def _late(self, mono_us: int) -> int:
        return max(0, self.last.mono_us - mono_us) if self.last is not None else 0

    def new_boot(self, boot_id: str) -> None:
        """After a reboot the counters are other counters; what was open ended when the node was last seen.

        No epilog runs after a crash.
        """
        if self.last is None or self.last.boot_id == boot_id:
            return
        for ledger in self.ledgers.values():
            ledger.close(self.last.wall_us, self.last.mono_us)
            ledger.settled = True
        self.deficit = {}
        self.owed = {}
        self.last = self._to_wall = None

    def new_process(self, integrated: set[str]) -> None:
        """After a restart of the collector counters have counted on; a power that it integrated itself has not."""
        self.resumed = all(ledger.settled for ledger in self.ledgers.values())
        if self.last is not None:
            readings = {n: Reading(None, NOT_SEEN) if n in integrated else r for n, r in self.last.readings.items()}
            self.last = self.last._replace(readings=readings)

    def new_stream(self, stream: str) -> None:
        """Begin a stream: nothing of it is sealed yet, and what is open is told anew."""
        self.stream = stream
        self.sequence = 0
        self.last_sealed = 0
        for ledger in self.ledgers.values():
            ledger.dirty = True

    def follow_clock(self, wall_us: int, mono_us: int) -> None:
        """Take in the time by both clocks, before the tickets that were read by it. A clock that was stepped makes no
        job longer: what is open was opened by the new clock's time.
        """
        to_wall = wall_us - mono_us
        step_us = 0 if self._to_wall is None else to_wall - self._to_wall
        self._to_wall = to_wall
        if abs(step_us) <= SLEW_US:
            return
        for ledger in self.ledgers.values():
            if ledger.closed_us is None:
                ledger.opened_us += step_us
                ledger.dirty = True

    def advance(self, now: Snapshot) -> None:
        """Account for the time from the last snapshot to this one.

        Raises ClockWentBack, having changed nothing, where the time is in a slot that is sealed.
        """
        last = self.last
        pieces = self._pieces(self._start(last, now), now.wall_us)
        parent = now.parent
        if last is None:
            self._first(now)
            self.resumed = False
        else:
            parent = self._between(last, now, pieces)
        for ledger in self.ledgers.values():
            ledger.settled |= ledger.closed_us is not None
        self.last = now._replace(parent=parent)

    def _start(self, last: Snapshot | None, now: Snapshot) -> int:
        """Wall-clock time at which the interval began.

        Reckoned back from now by the monotonic clock, so that a stepped clock loses and doubles nothing.
        """
        to_wall = now.wall_us - now.mono_us
        if last is None:
            opened = [ledger.open_mono_us + to_wall for ledger in self.ledgers.values() if not ledger.settled]
            return min([*opened, now.wall_us])
        return last.mono_us + to_wall

    def _pieces(self, start_us: int, end_us: int) -> list[tuple[int, int, int]]:
        """The interval cut at the borders of slots. A clock that is only being slewed must not seem to go back
        into a slot that is sealed: what would fall there goes to the next one. Raises ClockWentBack.
        """
        floor = self.last_sealed + SLOT_S if self.last_sealed else 0
        if start_us < floor * US_PER_S - SLEW_US:
            raise ClockWentBack
        return [(max(slot, floor), start, end) for slot, start, end in slots.cut(start_us, end_us)]

    def _first(self, now: Snapshot) -> None:
        """Nothing to compare with: jobs that are already here were here unmetered, and so was their CPU time;
        in the first interval it would outweigh that of their neighbours.
        """
        to_wall = now.wall_us - now.mono_us
        for ledger in self.ledgers.values():
            if not ledger.settled:
                end = now.mono_us if ledger.close_mono_us is None else ledger.close_mono_us
                ledger.last = self._usage(ledger, now)
                self._unmetered(ledger, ledger.open_mono_us + to_wall, end + to_wall)

    def _unmetered(self, ledger: Ledger, start_us: int, end_us: int) -> None:
        pieces = self._pieces(start_us, max(start_us, end_us))
        used = None if ledger.last is None else slots.share_out(ledger.last.cpu_us, pieces)
        for p, (slot, start, end) in enumerate(pieces):
            row = self.job_row(ledger, slot)
            row.alloc_us += end - start
            row.cpu_us = row.cpu_us if used is None else (row.cpu_us or 0) + used[p]
            for name in self._components_of(ledger):
                row.component(name).blame(self.missing.get(name) or "before the collector's first reading")

    def _between(self, last: Snapshot, now: Snapshot, pieces: list[tuple[int, int, int]]) -> Usage | None:
        """Account for an interval; returns the parent cgroup as the next one has to take it."""
        elapsed = max(0, now.mono_us - last.mono_us)
        ledgers = [ledger for ledger in self.ledgers.values() if not ledger.settled]
        jobs = [self._presence(ledger, last, now) for ledger in ledgers]
        grown = {s: us - last.busy.get(s, us) for s, us in now.busy.items()}
        # A CPU that goes offline takes its line out of /proc/stat, and brings all of its past back.
        most = {s: self.topology.cpus_on(s) * (elapsed + USER_HZ_US) for s in grown}
        busy = {s: min(max(0, us), most[s]) for s, us in grown.items()}
        others = self._others(last, now)
        times = cpu_time.cpu_times(jobs, now.parent, last.parent or Usage(0, {}, 0), busy, self.topology, others)
        system = self._system(busy, times)
        energies = self._energies(last, now, elapsed)
        self.faults = {name: energy.reason for name, energy in energies.items() if energy.uj is None}
        if all(0 <= us <= 2 * most[s] for s, us in grown.items()):
            self._learn(energies, elapsed, busy, now, ledgers, jobs)
        memory = [(job.usage or job.before or Usage(0, {}, 0)).memory for job in jobs]
        outside = max(0, now.memory - sum(memory)) if now.memory is not None else 0
        work = Work(
            ledgers=ledgers,
            jobs=jobs,
            cpu=times,
            # Without CPU accounting by cgroup (v1 with another JobAcctGatherType) CPU time is unknown, not 0.
            cpu_known=[job.usage is not None or now.parent is not None for job in jobs],
            memory=memory,
            system=system,
            system_memory=0 if self.memory_base is None else max(0, outside - self.memory_base),
            energies=energies,
            activity=now.activity,
            resumed=self.resumed,
        )
        self.resumed = False
        done = post(self, work, pieces, now.mono_us - now.wall_us)
        self.overdue.add(self, last, now, work, done)
        seen = [
            cpu_time.growth(job.usage, job.before or _cgroup(ledger, last))[0]
            for ledger, job in zip(ledgers, jobs)
            if job.usage
        ]
        for ledger, job in zip(ledgers, jobs):
            ledger.last = job.usage
        # A parent that could not be read once has not been made anew: its growth counts from where it was seen.
        return cpu_time.caught_up(now.parent, last.parent, seen) if now.parent else last.parent

    def _presence(self, ledger: Ledger, last: Snapshot, now: Snapshot) -> Presence:
        end = now.mono_us if ledger.close_mono_us is None else min(ledger.close_mono_us, now.mono_us)
        usage = self._usage(ledger, now)
        return Presence(
            start_us=max(ledger.open_mono_us, last.mono_us),
            end_us=max(end, ledger.open_mono_us, last.mono_us),
            held=cpu_time.held(ledger.job.cpus, ledger.cpuset, self.topology),
            cpuset=ledger.cpuset,
            usage=usage,
            before=ledger.last,
            gone=ledger.closed_us is not None or (usage is None and ledger.last is not None),
        )

    def _usage(self, ledger: Ledger, now: Snapshot) -> Usage | None:
        """The job's cgroup, if it is this run's: a requeued job has the same JobID, and the newest run has it."""
        if ledger.closed_us is not None and any(
            other.job.job_id == ledger.job.job_id and other.open_mono_us > ledger.open_mono_us
            for other in self.ledgers.values()
        ):
            return None
        return _cgroup(ledger, now)

    def _others(self, last: Snapshot, now: Snapshot) -> list[Usage]:
        """What was used in cgroups that no ledger here has, or has only from now on."""
        own = {
            name
            for ledger in self.ledgers.values()
            if not ledger.settled
            for name in ledger.cgroup_names
            if name in now.jobs and ledger.last is not now.jobs[name]
        }
        return [cpu_time.growth(us, last.jobs.get(name))[0] for name, us in now.jobs.items() if name not in own]

    def _system(self, busy: dict[int, int], times: list[dict[int, int]]) -> dict[int, int]:
        """CPU time outside the jobs. /proc/stat steps by 10 ms, cgroups by nanoseconds: what a job is ahead
        of it in one interval is taken off the next.
        """
        system = {}
        for socket, us in busy.items():
            rest = us - sum(used.get(socket, 0) for used in times) + self.deficit.get(socket, 0)
            system[socket] = max(0, rest)
            self.deficit[socket] = max(-MAX_DEFICIT_US, min(0, rest))
        return system

    def _energies(self, last: Snapshot, now: Snapshot, elapsed: int) -> dict[str, Energy]:
        """Energy of each domain in the interval, without what belongs to domains inside it."""
        gross = {name: self._energy(domain, last, now, elapsed) for name, domain in self.domains.items()}
        return nesting.net(self.domains, gross, self.owed)

    def _energy(self, domain: Domain, last: Snapshot, now: Snapshot, elapsed: int) -> Energy:
        name = domain.name
        before, after = last.readings.get(name), now.readings.get(name)
        if after is None or after.energy_uj is None:
            return Energy(None, f"{name}: {after.reason if after else 'not read'}")
        if before is None or before.energy_uj is None:
            late = self.overdue.settle(self, domain, now, elapsed)
            return Energy(late, "" if late is not None else f"{name}: {before.reason if before else READABLE_NOW}")
        found = delta(Counter(domain.range_uj, domain.max_watts), before.energy_uj, after.energy_uj, elapsed)
        if found.energy_uj == 0 and self.faults.get(name) == f"{name}: {STANDS_STILL}":
            return Energy(None, self.faults[name])  # too short a look to say that it moves again
        return Energy(found.energy_uj, f"{name}: {found.reason}" if found.reason else "")

    def _learn(
        self,
        energies: dict[str, Energy],
        elapsed: int,
        busy: dict[int, int],
        now: Snapshot,
        ledgers: list[Ledger],
        jobs: list[Presence],
    ) -> None:
        """Learn idle power of every domain, and how much memory the system itself uses."""
        held = {name for ledger in ledgers for name in ledger.parts}
        for name, (energy, _) in energies.items():
            domain = self.domains[name]
            if energy is None or domain.component == "other":
                continue
            if domain.component == "gpu":
                # A device is busy while somebody holds it: whether it is used cannot always be known.
                self.idle_of(name).learn(energy, elapsed, elapsed if name in held else 0, 1)
            else:
                cpus = self.topology.cpus_on(domain.socket) or self.topology.cpus
                used = busy[domain.socket] if domain.socket in busy else sum(busy.values())
                self.idle_of(name).learn(energy, elapsed, used, cpus)
        if now.memory is not None and not any(job.usage for job in jobs):
            # A job's cgroup has its page cache in it, MemAvailable has not: only without jobs is the rest the system's.
            self.memory_base = now.memory if self.memory_base is None else min(now.memory, self.memory_base)

    def idle_of(self, domain: str) -> IdlePower:
        """What is known of the idle power of a domain."""
        if domain not in self.idle:
            self.idle[domain] = IdlePower(self._idle_share(domain))
        elif domain in self.domains:
            self.idle[domain].share = self._idle_share(domain)  # what was loaded may have answered late
        return self.idle[domain]

    def _idle_share(self, name: str) -> float:
        domain = self.domains.get(name)
        return IDLE_SHARE.get(domain.component if domain else "cpu", 1.0)

    # -- rows -------------------------------------------------------------------------------------------------

    def job_row(self, ledger: Ledger, slot: int) -> Row:
        """The row of a job in a slot, made when it is first spoken of."""
        key = (*ledger.key, slot)
        if key not in self.rows:
            row = self.rows[key] = Row(ledger.job.job_id, ledger.job.run, ledger.opened_us // 1_000_000, slot)
            for name in self._components_of(ledger):
                row.component(name)
        row = self.rows[key]
        row.dirty = True
        return row

    def node_row(self, slot: int) -> Row:
        """The node's own row in a slot, made when it is first spoken of."""
        row = self.rows.setdefault((0, "", slot), Row(0, "", 0, slot))
        row.dirty = True
        return row

    def _components_of(self, ledger: Ledger) -> tuple[str, ...]:
        """What a job is told about: `gpu` only if it holds one, `other` only where the node has a meter for it."""
        whole = any(domain.component == "other" for domain in self.domains.values())
        return (*EVERY_NODES, *(["gpu"] if ledger.gpus else []), *(["other"] if whole else []))

    # -- the state on disk ------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "stream": self.stream,
            "sequence": self.sequence,
            "revision": self.revision,
            "cluster": self.cluster,
            "last": self.last.save() if self.last else None,
            "last_sealed": self.last_sealed,
            "memory_base": self.memory_base,
            "deficit": self.deficit,
            "owed": self.owed,
            "idle": {name: idle.save() for name, idle in self.idle.items()},
            "ledgers": [ledger.save() for ledger in self.ledgers.values()],
            "rows": [row.save() for row in self.rows.values()],
            "recent": self.recent,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take up where a collector left off. Raises KeyError, TypeError, ValueError for what is no state."""
        self.stream = str(saved["stream"])
        self.sequence = int(saved["sequence"])
        self.revision = int(saved["revision"])
        self.cluster = str(saved["cluster"])
        self.last = Snapshot.load(saved["last"]) if saved["last"] else None
        self._to_wall = self.last.wall_us - self.last.mono_us if self.last else None
        self.last_sealed = int(saved["last_sealed"])
        self.memory_base = saved["memory_base"]
        self.deficit = {int(socket): us for socket, us in saved["deficit"].items()}
        self.owed = {str(name): int(uj) for name, uj in saved["owed"].items()}
        self.idle = {name: IdlePower(self._idle_share(name), idle) for name, idle in saved["idle"].items()}
        ledgers = [Ledger.load(ledger) for ledger in saved["ledgers"]]
        self.ledgers = {ledger.key: ledger for ledger in ledgers}
        rows = [Row.load(row) for row in saved["rows"]]
        self.rows = {(row.job_id, row.run, row.slot): row for row in rows}
        self.recent = {str(key): int(at) for key, at in saved["recent"].items()}


def _cgroup(ledger: Ledger, at: Snapshot) -> Usage | None:
    return next((at.jobs[name] for name in ledger.cgroup_names if name in at.jobs), None)


class ClockWentBack(Exception):  # noqa: N818 - an event, not a fault: the caller starts a new stream
    """The wall clock is back in a slot whose rows are sealed."""
