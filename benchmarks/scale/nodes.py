# SPDX-License-Identifier: MIT
"""What the nodes of a site would send: segments as the collector seals them, one a node and slot, with made-up energies.

The records are made by the collector's own code. A ledger is in the first segment and, when its job has ended, in
the last; a job's row and the node's are in each of them, because each slot is another.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from carbon_acct.slurm.client import SlurmJob
from carbon_collector.apportion import apportion
from carbon_collector.attribution.ledger import Ledger
from carbon_collector.attribution.rows import JobRow, NodeRow
from carbon_collector.job import Job
from carbon_collector.units import SLOT_S, US_PER_S

CLUSTER = "bench"
START = SLOT_S * 1_900_000
"""A slot in 2024, 4 in the morning of UTC."""

SLOT_US = SLOT_S * US_PER_S
PARTITION = "batch"


@dataclass(frozen=True)
class Fleet:
    """Nodes that are full of jobs of one node each, which run for `slots` slots and are followed by others."""

    nodes: int
    jobs_per_node: int
    slots: int
    rounds: int = 1
    by_minute: bool = False
    """Whether rows have minutes, which scatter by a tenth."""

    @property
    def records(self) -> int:
        """Of all segments."""
        return sum(self.nodes * (self.jobs_per_node * (2 if ends else 1) + 1) for ends in self._ledgers())

    def _ledgers(self) -> Iterator[bool]:
        for at in range(self.slots * self.rounds):
            yield at % self.slots in (0, self.slots - 1)

    def jobs(self) -> Iterator[SlurmJob]:
        """As Slurm knows them from the first second."""
        for turn in range(self.rounds):
            for node in range(self.nodes):
                for at in range(self.jobs_per_node):
                    yield _slurm_job(self._job_id(turn, node, at), node, self._start(turn))

    def segments(self) -> Iterator[bytes]:
        """All of them, slot by slot, each slot's from every node."""
        for slot in range(self.slots * self.rounds):
            for node in range(self.nodes):
                yield self._segment(node, slot)

    def _job_id(self, turn: int, node: int, at: int) -> int:
        return 1 + (turn * self.nodes + node) * self.jobs_per_node + at

    def _start(self, turn: int) -> int:
        return START + turn * self.slots * SLOT_S

    def _segment(self, node: int, at: int) -> bytes:
        turn, age = divmod(at, self.slots)
        slot, revision = START + at * SLOT_S, at + 1
        records = []
        whole = NodeRow(slot)
        whole.elapsed_us = SLOT_US
        for i in range(self.jobs_per_node):
            job_id = self._job_id(turn, node, i)
            if age in (0, self.slots - 1):
                closed = self._start(turn + 1) if age == self.slots - 1 else None
                records.append(_ledger(job_id, self._start(turn), closed).record(revision, self.jobs_per_node))
            row = JobRow(job_id, f"start:{self._start(turn)}", self._start(turn), slot)
            energies = {"cpu": 900_000_000 * (20 + job_id % 7), "dram": 900_000_000 * 2 + at}
            _fill(row, energies)
            record = row.record(revision)
            for name, uj in energies.items() if self.by_minute else ():
                record["components"][name]["minute_uj"] = scattered(uj, job_id * 1000 + at)
            records.append(record)
            for name, uj in energies.items():
                whole.component(name).add(uj, 0, 0, "counter")
        for share in whole.components.values():
            share.metered_us = SLOT_US
        records.append(whole.record(revision))
        return _sealed(node, revision, slot + SLOT_S, records)


def scattered(energy_uj: int, seed: int) -> list[int]:
    """Return 15 minutes that add up to an energy and differ by a tenth."""
    chance = random.Random(seed)  # noqa: S311  no secret
    return apportion(energy_uj, [max(0, round(chance.gauss(10_000, 1000))) for _ in range(15)])


def _fill(row: JobRow, energies: dict[str, int]) -> None:
    row.alloc_us, row.cpu_us = SLOT_US, SLOT_US // 2
    for name, uj in energies.items():
        share = row.component(name)
        share.add(uj // 4, uj - uj // 4, "counter")
        share.metered_us = SLOT_US


def _ledger(job_id: int, opened: int, closed: int | None) -> Ledger:
    uid, user, account = who(job_id)
    job = Job(job_id, f"start:{opened}", uid, user, account, PARTITION, 0, None, 1, (), "", CLUSTER)
    made = Ledger(job, "prolog", opened * US_PER_S, 0)
    made.closed_us = None if closed is None else closed * US_PER_S
    return made


def who(job_id: int) -> tuple[int, str, str]:
    """Uid, user and account of a job: 500 users in 50 accounts."""
    return 1000 + job_id % 500, f"u{job_id % 500}", f"a{job_id % 50}"


def _sealed(node: int, sequence: int, created: int, records: list[dict[str, object]]) -> bytes:
    head = {"type": "segment", "version": 1, "cluster": CLUSTER, "node": f"n{node}", "boot_id": "b0-07"}
    lines = [head | {"stream": "00c0ffee", "sequence": sequence, "created": created, "collector": "0"}, *records]
    body = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
    end = {"type": "end", "rows": len(records), "sha256": hashlib.sha256(body).hexdigest()}
    return body + json.dumps(end).encode() + b"\n"


def _slurm_job(job_id: int, node: int, start: int) -> SlurmJob:
    uid, user, account = who(job_id)
    return SlurmJob(
        cluster=CLUSTER,
        job_id_raw=job_id,
        job_id=str(job_id),
        name="bench",
        user=user,
        uid=uid,
        account=account,
        partition=PARTITION,
        qos="normal",
        state="RUNNING",
        exit_code="0:0",
        restarts=0,
        sluid=None,
        submit=start,
        eligible=start,
        start=start,
        end=None,
        elapsed_s=0,
        nnodes=1,
        ncpus=1,
        alloc_tres="cpu=1",
        nodelist=f"n{node}",
    )
