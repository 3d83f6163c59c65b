# SPDX-License-Identifier: MIT
"""Counts the node-time of a run for which there is no row at all: the time that its delivered ledgers leave out.

A node with rows counts by its ledgers, because Slurm's times are whole seconds, and a job that was metered from prolog
to epilog must be complete. A node of the job's list without rows counts by Slurm's elapsed time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Job, NodeJobSlot
from carbon_acct.db.row_types import JobRow, LedgerRow
from carbon_acct.db.rows import IDS, ask_ids, change_rows, table_of
from carbon_acct.estimates.arithmetic import within_run
from carbon_acct.slurm.matching import LATE_SOURCES, RESIZED
from carbon_acct.sums.fit import Told
from carbon_collector.units import US_PER_S

MOST_US = 2**62
"""The node-time in microseconds that is stored at most. A controller whose clock was in 1970 tells of decades."""

SEAL_SLACK_S = 2
"""The seconds by which a sealed ledger may be shorter than its times say, because they are whole seconds."""


class Unmetered(NamedTuple):
    """The number of nodes of a run without rows, and the node-time without rows."""

    nodes: int
    us: int


def told_by(
    session: Session, jobs: Collection[JobRow], ledgers: Mapping[int, Sequence[LedgerRow]], with_rows: Collection[int]
) -> dict[int, Told]:
    """Return what the rows of each ledger add up to. Open ledgers of running jobs that are known to have rows are left
    out.
    """
    asked = [
        ledger.id
        for job in jobs
        for ledger in ledgers.get(job.id, ())
        if ledger.id not in with_rows or job.end is not None or ledger.closed is not None
    ]
    return {row.ledger_id: Told(int(row.alloc_us), row.first, row.last) for row in ask_ids(session, _ALLOCATED, asked)}


def recount(
    session: Session,
    jobs: Collection[JobRow],
    ledgers: Mapping[int, Sequence[LedgerRow]],
    with_rows: Collection[int],
    told: Mapping[int, Told],
) -> dict[int, Unmetered]:
    """Recompute the unmetered node-time of these runs, store the values that changed, and return them by the run's row
    id.

    `with_rows`: ids of ledgers that are known to have rows. `told`: the answer of `told_by`.
    """
    changed: dict[int, Unmetered] = {}
    for job in jobs:
        filled = [ledger for ledger in ledgers.get(job.id, ()) if ledger.id in with_rows or ledger.id in told]
        nodes, us = _of_run(job, _by_node(filled), told)
        if nodes != job.unmetered_nodes or us != job.unmetered_us:
            changed[job.id] = Unmetered(nodes, us)
    if changed:
        rows = [(job, *unmetered) for job, unmetered in changed.items()]
        change_rows(session, table_of(Job), ("id", "unmetered_nodes", "unmetered_us"), rows)
    return changed


def _of_run(job: JobRow, nodes: Collection[Sequence[LedgerRow]], told: Mapping[int, Told]) -> tuple[int, int]:
    """Return the number of nodes without rows and the unmetered time. `nodes` are the ledgers of each node that has
    rows.
    """
    held = job.start is not None and job.state != RESIZED  # its newest record stands for all of a resized run
    without = max(0, (job.nnodes or 0) - len(nodes)) if held else 0
    unmetered_us = 0
    for ledgers in nodes:
        unmetered_us += _unmetered_us(job, ledgers, told)
    return without, min(MOST_US, without * (job.elapsed_s or 0) * US_PER_S + unmetered_us)


def _by_node(ledgers: Sequence[LedgerRow]) -> Collection[list[LedgerRow]]:
    found: dict[int, list[LedgerRow]] = defaultdict(list)
    for ledger in ledgers:
        found[ledger.node_id].append(ledger)
    return found.values()


_ALLOCATED = (
    select(NodeJobSlot.ledger_id, func.sum(NodeJobSlot.alloc_us).label("alloc_us"))
    .add_columns(func.min(NodeJobSlot.slot).label("first"), func.max(NodeJobSlot.slot).label("last"))
    .where(NodeJobSlot.ledger_id.in_(IDS))
    .group_by(NodeJobSlot.ledger_id)
)


def _unmetered_us(job: JobRow, ledgers: Sequence[LedgerRow], told: Mapping[int, Told]) -> int:
    """Return the time of which a node with rows has none.

    The ledger was opened late (no prolog ran), was never sealed, or rows in between never arrived. The time of a node
    that crashed ends when the collector last saw the job, although Slurm says that it held the job until the crash was
    noticed.
    """
    opened, closed, from_start = _span(ledgers)
    before_s = 0 if from_start or job.start is None else max(0, opened - job.start)
    until = job.end if closed is None or (job.end and job.state == "NODE_FAIL") else closed
    if until is None or job.state.startswith("SUSPENDED"):
        return before_s * US_PER_S
    if job.start is not None and job.end is not None:
        first_slot = min([told[ledger.id].first for ledger in ledgers if ledger.id in told], default=job.start)
        opened, until = within_run(opened, until, job.start, job.end, first_slot)
    metered_us = sum([told[ledger.id].alloc_us for ledger in ledgers if ledger.id in told])
    return before_s * US_PER_S + max(0, (until - opened - SEAL_SLACK_S) * US_PER_S - metered_us)


def _span(ledgers: Sequence[LedgerRow]) -> tuple[int, int | None, bool]:
    """Return when a node's ledgers of a run were opened, when all were sealed (None: they are not), and whether they
    began with the run.
    """
    closed = [ledger.closed for ledger in ledgers if ledger.closed is not None]
    return (
        min(ledger.opened for ledger in ledgers),
        max(closed) if len(closed) == len(ledgers) else None,
        any(ledger.source not in LATE_SOURCES for ledger in ledgers),
    )
