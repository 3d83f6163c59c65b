# SPDX-License-Identifier: MIT
"""The life of a node's spool, with made-up energies that are known, and what an aggregator keeps of what it is sent."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carbon_acct.delivery.records import DroppedRecord, JobSlotRecord, NodeSlotRecord
from carbon_acct.delivery.segment import parse_segment
from carbon_collector.attribution import records
from carbon_collector.attribution.books import Books
from carbon_collector.attribution.ledger import Ledger
from carbon_collector.attribution.slots import slot_of
from carbon_collector.log import Log
from carbon_collector.meters.base import COUNTER
from carbon_collector.spool.sealer import Sealer
from carbon_collector.spool.segment import Header, Spare
from carbon_collector.spool.spool import Spool

from .world import DOMAINS, TOPOLOGY, make_job

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOT = 900
START = 86400 * 18_000
LATER = 1 << 39
COMPONENTS = ("cpu", "dram")
KIB = 1024
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A segment is synced to its disk; in memory that is soon done."""


class Node:
    """A node whose books are moved by hand: real rows, ledgers, batches and spool, made-up energies."""

    def __init__(self, folder: Path, limit_bytes: int, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.spool = Spool(str(folder / "spool"), limit_bytes)
        self.sealer = Sealer(self.spool)
        self.log = Log(str(folder / "log"))
        self.books = Books("0123abcd", TOPOLOGY, DOMAINS, {})
        self.now = START
        self.serial = 0
        self.sealed: list[bytes] = []
        self.counted: dict[str, int] = defaultdict(int)
        self.had: dict[tuple[int, str], int] = defaultdict(int)

    def open(self) -> int:
        """A job begins."""
        self.serial += 1
        self.books.open(Ledger(make_job(self.serial), "prolog", self.now * 1_000_000, self.now * 1_000_000))
        return self.serial

    def close(self, job_id: int) -> None:
        """It ends."""
        ledger = self.books.ledgers[job_id, "restart:0"]
        ledger.close(self.now * 1_000_000, self.now * 1_000_000)
        ledger.settled = True

    def running(self) -> list[int]:
        """Jobs that are there."""
        return [job_id for (job_id, _), ledger in self.books.ledgers.items() if not ledger.settled]

    def interval(self, seconds: int) -> None:
        """Time passes, and everybody uses energy; it all goes to the slot in which it ends."""
        self.now += seconds
        slot = slot_of(self.now * 1_000_000)
        node = self.books.node_row(slot)
        node.elapsed_us += seconds * 1_000_000
        jobs = self.running()
        rows = [self.books.job_row(self.books.ledgers[job_id, "restart:0"], slot) for job_id in jobs]
        for row in rows:
            row.alloc_us += seconds * 1_000_000
            row.cpu_us = (row.cpu_us or 0) + self.random.randrange(seconds * 1_000_000)
        for name in COMPONENTS:
            parts = [self.random.randrange(1, 10**9) for _ in (*jobs, 0, 0)]
            idle, system = parts[-2:]
            node.component(name).add(sum(parts), idle, system, COUNTER)
            node.component(name).metered_us += seconds * 1_000_000
            for row, part in zip(rows, parts, strict=False):
                row.component(name).add(part // 3, part - part // 3, COUNTER)
                row.component(name).metered_us += seconds * 1_000_000
                self.had[row.job_id, name] += part
            self.counted[name] += sum(parts)

    def numbers(self) -> tuple[int, int]:
        """The next sequence and revision."""
        return self.books.next_numbers()

    def flush(self) -> bool:
        """As the collector does: False where the spool does not take it."""
        header = Header("tiny", "n1", "b-0", self.books.stream)
        for batch in records.batches(self.books):
            sequence, revision = self.numbers()
            spare = Spare(self.books.stream, self.books.last_sealed, self.numbers, self.now, self.log)
            try:
                name = self.sealer.seal(header, sequence, batch.records(revision, 8), spare)
            except OSError:
                return False
            self.sealed.append(self.spool.read(name))
            batch.sealed()
        self.books.forget(slot_of(self.now * 1_000_000))
        return True

    def segments(self) -> list[bytes]:
        """What waits in the spool, oldest first."""
        return [self.spool.read(name) for name in self.spool.segments()]

    def lost(self) -> dict[str, Any]:
        """What the spool says it lost, of all streams."""
        path = Path(self.spool.folder) / "streams.json"
        notes = json.loads(path.read_text())["streams"] if path.exists() else {}
        return total(note["dropped"] for note in notes.values() if note["dropped"])


def total(losses: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Of several streams."""
    many = list(losses)
    energy_uj = {name: sum(one["energy_uj"].get(name, 0) for one in many) for name in COMPONENTS}
    return {"rows": sum(one["rows"] for one in many), "energy_uj": energy_uj}


class Store:
    """What an aggregator keeps: by key and slot the record with the highest revision, as its own parser reads them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Any] = {}
        self.names: dict[str, bytes] = {}

    def take(self, body: bytes) -> None:
        """Store a segment; all of it is good, and its name is its own."""
        segment = parse_segment(body, LATER)
        assert not segment.refused, segment.refused
        assert self.names.setdefault(segment.header.name, body) == body, "a name is used twice"
        for record in segment.records:
            key = (segment.header.stream, record.type, getattr(record, "job_id", 0), getattr(record, "slot", 0))
            if key not in self.rows or record.revision > self.rows[key].revision:
                self.rows[key] = record

    def of(self, kind: type) -> list[Any]:
        """Records of a type."""
        return [row for row in self.rows.values() if isinstance(row, kind)]

    def node_uj(self) -> dict[str, int]:
        """What the node's meters counted, by component."""
        rows = self.of(NodeSlotRecord)
        return {name: sum(row.components[name].energy_uj for row in rows) for name in COMPONENTS}

    def had(self) -> dict[tuple[int, str], int]:
        """What each job had of each component."""
        found: dict[tuple[int, str], int] = defaultdict(int)
        for row, name in itertools.product(self.of(JobSlotRecord), COMPONENTS):
            found[row.job_id, name] += row.components[name].energy_uj
        return found

    def differences(self) -> dict[tuple[str, int, str], int]:
        """Node less jobs, idle and system, by stream, slot and component, where that is not 0."""
        found: dict[tuple[str, int, str], int] = defaultdict(int)
        for (stream, kind, _, slot), row in self.rows.items():
            for name in COMPONENTS if kind in ("job_slot", "node_slot") else ():
                share = row.components[name]
                rest = share.energy_uj - share.idle_uj - share.system_uj if kind == "node_slot" else -share.energy_uj
                found[stream, slot, name] += rest
        return {key: uj for key, uj in found.items() if uj}

    def lost(self) -> dict[str, Any]:
        """What the node told of its losses."""
        return total(one.model_dump() for one in self.of(DroppedRecord))


def live_of(jobs: int, slots: int, folder: Path, limit_bytes: int, flushes: int = 1) -> Node:
    """A node with so many jobs that run all the time, for so many slots, sealed so many times a slot."""
    node = Node(folder, limit_bytes)
    for _ in range(jobs):
        node.open()
    for _ in range(slots * flushes):
        node.interval(SLOT // flushes)
        node.flush()
    return node


class History:
    """A node's life, and what an aggregator saw of it: acknowledged, delivered without that being known, on its way."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.node = Node(folder, limit_bytes)
        self.store = Store()
        self.leaked = False
        self.streams = 0

    def run(self, ops: list[tuple[str, int]]) -> None:
        """One after the other."""
        for name, n in ops:
            getattr(self, f"do_{name}")(n)
        self.node.spool.flying = ""

    def do_time(self, n: int) -> None:
        """Up to a slot."""
        self.node.interval(1 + n * 4 // 5)

    def do_flush(self, _n: int) -> None:
        """What has changed is sealed."""
        self.node.flush()

    def do_open(self, _n: int) -> None:
        """A job begins."""
        self.node.open()

    def do_close(self, n: int) -> None:
        """A job ends."""
        running = self.node.running()
        if running:
            self.node.close(running[n % len(running)])

    def do_ship(self, n: int) -> None:
        """The oldest are acknowledged."""
        for name in self.node.spool.segments()[: n % 4]:
            self.store.take(self.node.spool.read(name))
            self.node.spool.forget(name)

    def do_leak(self, n: int) -> None:
        """The oldest are stored, but the answers are lost."""
        for name in self.node.spool.segments()[: n % 4]:
            self.store.take(self.node.spool.read(name))
            self.leaked = True

    def do_fly(self, n: int) -> None:
        """The oldest is on its way, or nothing is."""
        self.node.spool.flying = (self.node.spool.segments() or [""])[0] if n % 2 else ""

    def do_crash(self, n: int) -> None:
        """The collector is killed when it has made one segment of several, which are still there; and starts again."""
        folder = Path(self.node.spool.folder)
        before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.jsonl")}
        self.node.flush()
        notes = folder / "streams.json"
        for name in json.loads(notes.read_text())["of"][n % 2 :] if notes.exists() else ():
            if name in before and not (folder / name).exists():
                body, mtime_ns = before[name]
                (folder / name).write_bytes(body)
                os.utime(folder / name, ns=(mtime_ns, mtime_ns))
        self.node.spool = Spool(str(folder), self.node.spool.limit_bytes)
        self.node.sealer = Sealer(self.node.spool)

    def do_stream(self, n: int) -> None:
        """The clock was set back: another stream; half of the time the state is lost as well."""
        if not self.node.flush():
            return
        self.node.books.forget(LATER)
        self.streams += 1
        self.node.books.new_stream(f"{self.streams:08x}")
        if n % 2:
            self.node.books.revision = 0
