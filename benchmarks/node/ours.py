# SPDX-License-Identifier: MIT
"""The collector's own arithmetic in virtual time: its Books are fed the readings that its daemon would take.

Tickets carry the time of their file; the daemon wakes some milliseconds later, reads the cgroups, then the meters,
then /proc/stat, each a little later than the other; after a reading it sleeps for an interval or to the next ticket.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carbon_collector.attribution import books as node_books
from carbon_collector.attribution import records
from carbon_collector.attribution.advance import advance
from carbon_collector.attribution.ledger import PROLOG, Ledger
from carbon_collector.attribution.slots import slot_of
from carbon_collector.attribution.snapshot import Snapshot
from carbon_collector.collector import LOOKS_S, SETTLE_S, SHOW_S
from carbon_collector.daemon import WARM_UP_S
from carbon_collector.job import Job as SlurmJob
from carbon_collector.meters.base import COUNTER, Domain, Reading
from carbon_collector.topology import Topology
from carbon_collector.usage import Usage

from .physics import SOCKETS
from .registers import GIB, JIFFY_S, UNITS

if TYPE_CHECKING:
    from .physics import Job, Node
    from .registers import Registers

INTERVAL_S = 10.0
BOOT_WALL_US = 1_790_000_100_000_000 - 300_000_000
"""Five minutes after boot a slot ends: jobs that run across its border are among them."""
WAKE_S = (0.0005, 0.005)
"""From the ticket to the collector's reading: the rest of the script, the signal, the scheduler."""
READ_S = 0.0001
"""What reading one cgroup takes."""
START_S = 0.06
"""What the collector takes to start, where a prolog starts it."""
WATTS = {"cpu": 500, "dram": 80, "gpu": 2000}


@dataclass
class Bill:
    """Microjoules of one job, as the records say."""

    host_uj: int = 0
    host_static_uj: int = 0
    gpu_uj: int = 0


@dataclass
class Books:
    """What came out: the bills, and each component's accounts against its meter, in microjoules."""

    bills: dict[int, Bill] = field(default_factory=dict)
    metered_uj: dict[str, int] = field(default_factory=dict)
    jobs_uj: dict[str, int] = field(default_factory=dict)
    rest_uj: dict[str, int] = field(default_factory=dict)
    idle_w: dict[str, float] = field(default_factory=dict)
    """Watts that were learned as each package's idle power."""
    readings: int = 0

    @property
    def difference_uj(self) -> int:
        """Meters less jobs, idle and system."""
        return sum(self.metered_uj.values()) - sum(self.jobs_uj.values()) - sum(self.rest_uj.values())


class Daemon:
    """The collector on one node. `version` of the cgroups; `service`: it ran before the first job came."""

    def __init__(self, registers: Registers, version: int, service: bool) -> None:
        self.registers = registers
        self.node = registers.node
        self.version = version
        self.rng = random.Random(f"daemon {self.node.name}")  # noqa: S311 - reproducible
        h = self.node.hardware
        self.topology = Topology({cpu: h.socket_of(cpu) for cpu in range(h.cpus)})
        self.books = node_books.Books("0badcafe", self.topology, _domains(registers), {})
        self.books.cluster = "virtual"
        self.tickets = _tickets(self.node)
        self.start_s = 1.0 if service else self.tickets[0][0] + START_S
        self.records: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.flush_due_s = float("inf")
        self.flushed_s = 0.0
        self.readings = 0

    def run(self, end_s: float) -> Books:
        """Live until `end_s`; returns the books, that are then whole."""
        now_s = self.start_s
        while now_s < end_s:
            now_s += self._step(now_s)
            self._flush_if_due(now_s)
            now_s = self._next(now_s)
        self._step(end_s)
        self._flush(end_s)
        return self._books()

    def _next(self, now_s: float) -> float:
        """When it wakes again: a tick, a warm-up reading, a segment that is due, the next ticket."""
        times = [now_s + INTERVAL_S, self.flush_due_s]
        times += [self.start_s + warm for warm in WARM_UP_S if self.start_s + warm > now_s]
        young = [x.open_mono_us / 1e6 for x in self.books.ledgers.values() if x.closed_us is None]
        times += [opened + look for opened in young for look in LOOKS_S if opened + look > now_s]
        times += [max(now_s, self.tickets[0][0] + self.rng.uniform(*WAKE_S))] if self.tickets else []
        return min(times)

    def _step(self, at: float) -> float:
        """One reading, as the daemon does it; returns how long it took."""
        due = [ticket for ticket in self.tickets if ticket[0] <= at]
        self.tickets = self.tickets[len(due) :]
        snapshot, took_s = self._snapshot(at)
        for when, kind, job in due:
            self._apply(kind, job, int(when // JIFFY_S * JIFFY_S * 1e6))
            self.flush_due_s = min(self.flush_due_s, at + SETTLE_S) if kind == "epilog" else self.flush_due_s
        self._learn_limits(at)
        advance(self.books, snapshot)
        self.readings += 1
        return took_s

    def _apply(self, kind: str, job: Job, mono_us: int) -> None:
        key = (job.job_id, "restart:0")
        if kind == "prolog":
            self.books.open(Ledger(_slurm_job(job), PROLOG, BOOT_WALL_US + mono_us, mono_us))
        else:
            self.books.close(self.books.ledgers[key], BOOT_WALL_US + mono_us, mono_us)

    def _learn_limits(self, at: float) -> None:
        """Slurm confines each job to the CPUs and the memory that it gave it."""
        there = {job.job_id: job for job in self.node.jobs if job.start_s <= at < job.stop_s}
        for ledger in self.books.ledgers.values():
            job = there.get(ledger.job.job_id)
            if job is not None:
                ledger.cpuset, ledger.memory = job.cpus, int(job.gib_requested * GIB)

    def _snapshot(self, at: float) -> tuple[Snapshot, float]:
        r, mono_us = self.registers, int(at * 1e6)
        there = [job for job in self.node.jobs if job.start_s <= at < job.stop_s]
        cgroups_s = at + READ_S
        meters_s = cgroups_s + READ_S * (1 + len(there))
        stat_s = meters_s + 2 * READ_S
        # A cgroup may go between the listing and its reading; then it is not there.
        jobs = {str(j.job_id): self._usage([j], meters_s, r.job_gib(j, meters_s)) for j in there if j.stop_s > meters_s}
        zones = {zone: Reading(r.energy_uj(zone, meters_s), "") for zone in r.zones()}
        gpus = {gpu: Reading(r.gpu_uj(gpu, meters_s), "") for gpu in self.node.gpus}
        return Snapshot(
            wall_us=BOOT_WALL_US + mono_us,
            mono_us=mono_us,
            boot_id="virtual",
            readings={**zones, **gpus},
            busy={s: round(r.busy_s(s, stat_s) * 1e6) for s in range(SOCKETS)},
            memory=int(r.memory_gib(stat_s) * GIB),
            parent=self._usage([j for j in self.node.jobs if j.start_s <= cgroups_s], cgroups_s, 0.0),
            jobs=jobs,
            activity={},
            memory_total=int(self.node.hardware.memory_gib * GIB),
        ), stat_s - at

    def _usage(self, jobs: list[Job], at: float, gib: float) -> Usage:
        by_socket = dict.fromkeys(range(SOCKETS), 0)
        for job in jobs:
            cpu_us = self.registers.job_cpu_s(job, at) * 1e6
            for socket in by_socket:
                by_socket[socket] += int(cpu_us * self.node.on_socket(job, socket))
        return Usage(sum(by_socket.values()), by_socket if self.version == 1 else {}, int(gib * GIB))

    # -- sealing, and what an aggregator would hold ----------------------------------------------------------------

    def _flush_if_due(self, now_s: float) -> None:
        slot = slot_of(self.books.last.wall_us) if self.books.last else 0
        ended = self.books.has_rows_before(slot)
        shown = now_s - self.flushed_s > SHOW_S and bool(self.books.ledgers)
        if ended or shown or now_s >= self.flush_due_s:
            self._flush(now_s)

    def _flush(self, now_s: float) -> None:
        for batch in records.batches(self.books):
            self.books.revision += 1
            for record in batch.records(self.books.revision, self.topology.cpus):
                key = (record["type"], record.get("job_id"), record.get("run"), record.get("slot"))
                self.records[key] = json.loads(json.dumps(record))
            batch.sealed()
        self.books.forget(slot_of(self.books.last.wall_us) if self.books.last else 0)
        self.flush_due_s = float("inf")
        self.flushed_s = now_s

    def _books(self) -> Books:
        books = Books(readings=self.readings)
        for zone in (z for z, kind in self.registers.zones().items() if kind == "cpu"):
            books.idle_w[zone] = self.books.idle_of(zone).idle().power_uw / 1e6
        for record in self.records.values():
            for name, share in record.get("components", {}).items():
                if share["energy_uj"] is None:
                    continue
                if record["type"] == "node_slot":
                    _add(books.metered_uj, name, share["energy_uj"])
                    _add(books.rest_uj, name, share["idle_uj"] + share["system_uj"])
                else:
                    _add(books.jobs_uj, name, share["energy_uj"])
                    self._bill(books, record["job_id"], name, share)
        return books

    def _bill(self, books: Books, job_id: int, name: str, share: dict[str, Any]) -> None:
        bill = books.bills.setdefault(job_id, Bill())
        if name == "gpu":
            bill.gpu_uj += share["energy_uj"]
        else:
            bill.host_uj += share["energy_uj"]
            bill.host_static_uj += share["static_uj"]


def _add(sums: dict[str, int], name: str, amount: int) -> None:
    sums[name] = sums.get(name, 0) + amount


def _tickets(node: Node) -> list[tuple[float, str, Job]]:
    opens = [(job.open_s, "prolog", job) for job in node.jobs]
    return sorted(opens + [(job.close_s, "epilog", job) for job in node.jobs], key=lambda t: (t[0], t[1]))


def _domains(registers: Registers) -> dict[str, Domain]:
    zones = [
        Domain(zone, kind, int(zone[-1]), UNITS[kind][1], WATTS[kind], COUNTER, simulated=True)
        for zone, kind in registers.zones().items()
    ]
    gpus = [Domain(gpu, "gpu", -1, 0, WATTS["gpu"], COUNTER, simulated=True) for gpu in registers.node.gpus]
    return {domain.name: domain for domain in [*zones, *gpus]}


def _slurm_job(job: Job) -> SlurmJob:
    cpus = len(job.cpus)
    return SlurmJob(job.job_id, "restart:0", 1000, "alice", "physics", "batch", 0, None, cpus, job.gpus, "", "virtual")
