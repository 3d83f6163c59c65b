# SPDX-License-Identifier: MIT
"""A node made of numbers: what its counters truly counted, beside the registers that a collector may read.

The property tests move it and compare the collector's rows with its truth. `Keeper` does with the Books what the
daemon does, without files: the state on disk is a string, the aggregator a dictionary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from carbon_collector.attribution import records
from carbon_collector.attribution.advance import advance
from carbon_collector.attribution.books import Books, ClockWentBack
from carbon_collector.attribution.ledger import PROLOG, Ledger
from carbon_collector.attribution.minutes import Minutes
from carbon_collector.attribution.slots import slot_of
from carbon_collector.attribution.snapshot import Snapshot
from carbon_collector.job import Job
from carbon_collector.meters.base import COUNTER, Domain, Reading
from carbon_collector.topology import Topology
from carbon_collector.usage import Usage

CPUS_PER_SOCKET = 4
TOPOLOGY = Topology({cpu: cpu % 2 for cpu in range(2 * CPUS_PER_SOCKET)})
MAX_WATTS = {"cpu": 400, "dram": 60, "gpu": 700}
START_US = 1_790_000_100_000_000
SLACK_UJ = 50_000_000
TICK_US = 10_000
PATIENCE_US = 60_000_000


def domain(name: str, component: str, socket: int, range_uj: int) -> Domain:
    """A domain with the plain limits of its kind."""
    return Domain(name, component, socket, range_uj, MAX_WATTS[component], COUNTER, simulated=True)


DOMAINS = {
    d.name: d
    for d in (
        domain("package-0", "cpu", 0, 262_143_328_850),
        domain("package-1", "cpu", 1, 65_532_610_987),
        domain("dram-0", "dram", 0, 65_712_999_613),
        domain("dram-1", "dram", 1, 65_712_999_613),
        domain("GPU-a", "gpu", -1, 0),
        domain("GPU-b", "gpu", -1, 0),
    )
}


def make_job(job_id: int, run: str = "restart:0", cpus: int | None = 1, gpus: tuple[str, ...] = ()) -> Job:
    """A job of user 1000."""
    return Job(job_id, run, 1000, "alice", "physics", "batch", 0, None, cpus, gpus, "", "tiny")


class Since(NamedTuple):
    """A counter's last reading: the register, when, what it had counted in all, how often it was reset."""

    register: int
    mono_us: int
    total: int
    breaks: int


@dataclass
class Counter:
    """A register, what it counted in all, and how often it was reset or jumped."""

    register: int
    readable: bool = True
    total: int = 0
    breaks: int = 0

    def set(self, register: int) -> None:
        """A driver reload, a flipped bit: what the register shows has nothing to do with what it showed."""
        self.register = register
        self.breaks += 1


@dataclass
class World:
    """Two sockets, their memory, two GPUs, jobs with cgroups. Time passes only in `run`."""

    mono_us: int = 1_000_000_000
    offset_us: int = START_US - 1_000_000_000
    boot: int = 1
    counters: dict[str, Counter] = field(default_factory=lambda: {n: Counter(7_000_000) for n in DOMAINS})
    busy: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    cgroups: dict[str, dict[int, int]] = field(default_factory=dict)
    parent: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    memory: dict[str, int] = field(default_factory=dict)
    memory_total: int = 0

    @property
    def wall_us(self) -> int:
        """The wall clock, which may be stepped."""
        return self.mono_us + self.offset_us

    def run(self, elapsed_us: int, watts: dict[str, int], cpu_us: dict[str, dict[int, int]] | None = None) -> None:
        """Let time pass: every counter counts `watts`; `cpu_us` by job (or "system") and socket."""
        self.mono_us += elapsed_us
        for name, counter in self.counters.items():
            energy = watts.get(name, 0) * elapsed_us
            counter.total += energy
            range_uj = DOMAINS[name].range_uj
            counter.register = (counter.register + energy) % range_uj if range_uj else counter.register + energy
        for job, used in (cpu_us or {}).items():
            for socket, us in used.items():
                self.busy[socket] += us
                if job in self.cgroups:
                    self.cgroups[job][socket] += us
                    self.parent[socket] += us

    def start_job(self, name: str) -> None:
        """The job's cgroup appears."""
        self.cgroups[name] = {0: 0, 1: 0}

    def end_job(self, name: str) -> None:
        """It goes; the parent keeps its CPU time."""
        self.cgroups.pop(name, None)

    def reboot(self) -> None:
        """Everything starts from nothing."""
        self.boot += 1
        self.mono_us = 5_000_000
        self.offset_us = max(self.offset_us, START_US) + 2_000_000_000
        for counter in self.counters.values():
            counter.register = 0
        self.busy = {0: 0, 1: 0}
        self.parent = {0: 0, 1: 0}
        self.cgroups.clear()

    def snapshot(self) -> Snapshot:
        """What the collector sees now. /proc/stat steps by 10 ms; no two readings share an instant."""
        self.mono_us += 1
        readings = {
            name: Reading(c.register if c.readable else None, "" if c.readable else "energy_uj: input/output error")
            for name, c in self.counters.items()
        }
        jobs = {
            name: Usage(sum(cpu.values()), dict(cpu), self.memory.get(name, 0)) for name, cpu in self.cgroups.items()
        }
        return Snapshot(
            wall_us=self.wall_us,
            mono_us=self.mono_us,
            boot_id=f"boot-{self.boot}",
            readings=readings,
            busy={s: us // TICK_US * TICK_US for s, us in self.busy.items()},
            memory=2_000_000_000 + sum(self.memory.values()),
            parent=Usage(sum(self.parent.values()), dict(self.parent), 0),
            jobs=jobs,
            activity={},
            memory_total=self.memory_total,
        )


@dataclass
class Life:
    """What a job's ledger ought to come to: its time on the node by the monotonic clock."""

    start_us: int
    end_us: int | None = None


class Keeper:
    """The daemon's part without files: tickets, the state on disk, the segments at the aggregator."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.streams = 0
        self.books = self._new_books()
        self.lives: dict[tuple[int, str], Life] = {}
        self._save()
        self.tickets: list[tuple[str, Job, int]] = []
        self.store: dict[tuple[Any, ...], tuple[int, dict[str, Any]]] = {}
        self.metered: dict[str, int] = {}
        self.seen: dict[tuple[str, int], dict[str, tuple[int, int]]] = {}
        self.since: dict[str, Since] = {}
        self.failed_us: dict[str, int] = {}
        self.lower: dict[str, Since] = {}
        self.believed_us: dict[str, int] = {}

    def _new_books(self) -> Books:
        books = Books(self._stream(), TOPOLOGY, DOMAINS, {}, Minutes())
        books.cluster = "tiny"
        return books

    def _stream(self) -> str:
        self.streams += 1
        return f"{self.streams:08x}"

    # -- what the daemon does -----------------------------------------------------------------------------------

    def open(self, job: Job) -> None:
        """The prolog's ticket."""
        self.tickets.append(("open", job, self.world.mono_us))

    def close(self, job: Job) -> None:
        """The epilog's ticket."""
        self.tickets.append(("close", job, self.world.mono_us))

    def step(self, die: bool = False) -> None:
        """Take in tickets, read, account, save; only then the tickets are gone. `die`: killed before it saves."""
        self.books.follow_clock(self.world.wall_us, self.world.mono_us)
        for kind, job, mono_us in self.tickets:
            self._apply(kind, job, mono_us)
        now = self.world.snapshot()
        lower = dict(self.lower)
        expected = self._expect(self.books.last, now)
        try:
            advance(self.books, now)
        except ClockWentBack:
            self.books.overdue.clear()
            # What was owed is a gap; a counter that had wrapped goes on from its last reading.
            self.since, self.lower = {}, lower
            expected = self._expect(self.books.last, now)
            self.seal(slot_of(1 << 62))
            self.books.new_stream(self._stream())
            advance(self.books, now)
        if die:
            return self.restart()
        for name, energy in expected.items():
            self.metered[name] = self.metered.get(name, 0) + energy
        self._save()
        self.tickets = []
        return None

    def _apply(self, kind: str, job: Job, mono_us: int) -> None:
        key = (job.job_id, job.run)
        wall_us = mono_us + self.world.offset_us
        at = max(mono_us, self.books.last.mono_us) if self.books.last else mono_us
        if key not in self.books.ledgers:
            self.books.open(Ledger(job, PROLOG, wall_us, mono_us))
            self.lives[key] = Life(at)
        if kind == "close":
            self.books.close(self.books.ledgers[key], wall_us, mono_us)
            # A ticket that is read again after a kill says nothing new, if what it said first was saved.
            if self.lives[key].end_us is None:
                self.lives[key].end_us = at

    def seal(self, slot: int | None = None, die: str = "") -> None:
        """Seal what has changed; `die` at "state" (saved, not sealed) or "sealed" (sealed, not forgotten)."""
        books = self.books
        if slot is None:
            slot = slot_of(books.last.wall_us) if books.last else 0
        for batch in records.batches(books, slot):
            books.revision += 1
            self._save()
            if die == "state":
                return self.restart()
            for record in batch.records(books.revision, TOPOLOGY.cpus):
                self.receive(books.stream, record)
            if die == "sealed":
                return self.restart()
            batch.sealed()
        books.forget(slot)
        self._save()
        return None

    def _save(self) -> None:
        self.disk = json.dumps(self.books.save())
        self.disk_lives = {key: Life(life.start_us, life.end_us) for key, life in self.lives.items()}

    def restart(self) -> None:
        """The collector was killed; what is on disk is all there is."""
        self.since = {}
        self.lower = {}
        books = Books("ffffffff", TOPOLOGY, DOMAINS, {}, Minutes())
        books.load(json.loads(self.disk))
        self.lives = {key: Life(life.start_us, life.end_us) for key, life in self.disk_lives.items()}
        boot = f"boot-{self.world.boot}"
        if books.last is not None and books.last.boot_id != boot:
            for key, ledger in books.ledgers.items():
                if ledger.closed_us is None:
                    self.lives[key].end_us = books.last.mono_us
        books.new_boot(boot)
        self.books = books

    # -- what comes out -----------------------------------------------------------------------------------------

    def receive(self, stream: str, record: dict[str, Any]) -> None:
        """As an aggregator does: the highest revision of a key holds. Through JSON, as on the wire."""
        record = json.loads(json.dumps(record))
        key = (stream, record["type"], record.get("job_id"), record.get("run"), record.get("slot"))
        if key not in self.store or record["revision"] > self.store[key][0]:
            self.store[key] = (record["revision"], record)

    def records(self) -> list[tuple[str, dict[str, Any]]]:
        """Every row with its stream: those at the aggregator, replaced by what the books hold now."""
        view = Keeper.__new__(Keeper)
        view.store = dict(self.store)
        for batch in records.batches(self.books, slot_of(1 << 62)):
            for record in batch.records(self.books.revision + 1, TOPOLOGY.cpus):
                view.receive(self.books.stream, record)
        return [(key[0], record) for key, (_, record) in view.store.items()]

    # -- the truth ----------------------------------------------------------------------------------------------

    def _expect(self, last: Snapshot | None, now: Snapshot) -> dict[str, int]:
        """What the meters are known to have counted since the books' last reading, by domain."""
        self.seen[now.boot_id, now.mono_us] = {n: (c.total, c.breaks) for n, c in self.world.counters.items()}
        if last is None or last.boot_id != now.boot_id:
            return {}
        then = self.seen[last.boot_id, last.mono_us]
        return {name: self._expect_of(name, last, now, then[name]) for name in DOMAINS}

    def _expect_of(self, name: str, last: Snapshot, now: Snapshot, then: tuple[int, int]) -> int:
        """Return what is booked of a counter that was never set: all that it counted since the last reading that was
        believed, once it is readable and does not seem to have gone down for the first time.
        """
        before = last.readings[name].energy_uj
        since = self.since.get(name) if before is None else Since(before, last.mono_us, *then)
        lower = self.lower.pop(name, None) if before is None else None
        counter, d = self.world.counters[name], DOMAINS[name]
        elapsed = now.mono_us - since.mono_us if since else 0
        if counter.readable and d.range_uj and d.max_watts * elapsed >= d.range_uj:
            self.since.pop(name, None)
            return 0
        is_first = since is not None and counter.register < since.register and lower is None
        if not counter.readable or is_first:
            if counter.readable:
                self.lower[name] = Since(counter.register, now.mono_us, counter.total, counter.breaks)
                self.believed_us[name] = since.mono_us if since else last.mono_us
            if since:
                first_us = self.failed_us[name] if name in self.since else now.mono_us
                self.since[name], self.failed_us[name] = since, first_us
                if now.mono_us - first_us > PATIENCE_US:
                    del self.since[name]
            return 0
        self.since.pop(name, None)
        if since is None and lower and lower.mono_us == last.mono_us:
            # The register may have come round since the last reading that was believed: then nothing is known.
            unseen = d.range_uj and d.max_watts * (now.mono_us - self.believed_us[name]) >= d.range_uj
            since = None if unseen else lower
        return counter.total - since.total if since else 0
