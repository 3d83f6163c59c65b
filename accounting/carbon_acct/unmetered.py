# SPDX-License-Identifier: MIT
"""Counts for how much node-time of a run there is no row at all: what its ledgers, as delivered, leave out of it.

A node with rows counts by its ledgers, because Slurm's times are whole seconds and a job metered from prolog to
epilog must come out whole. A node of the job's list without rows counts by Slurm's elapsed time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Job, NodeJobSlot
from carbon_acct.db.rows import IDS, ask_ids, change_rows, table_of
from carbon_acct.matching import LATE_SOURCES, RESIZED
from carbon_collector.units import US_PER_S

SEAL_SLACK_S = 2
"""Opened and closed are whole seconds: a sealed ledger may span so much less than they say."""


class Unmetered(NamedTuple):
    """Nodes of a run without rows, and the node-time without."""

    nodes: int
    us: int


class _Span(NamedTuple):
    """What the ledgers of one node say of a run. `closed` None: not all of them are sealed.

    `alloc_us` is only added up where the span has an end.
    """

    opened: int
    closed: int | None
    alloc_us: int
    from_start: bool


def recount(
    session: Session, jobs: Collection[Any], ledgers: Mapping[int, Sequence[Any]], with_rows: Collection[int]
) -> dict[int, Unmetered]:
    """Count again for runs with their ledgers; those of which it is another figure now, which is stored.

    `with_rows`: ledgers of which it is known that they have rows.
    """
    spans = _spans(session, jobs, ledgers, with_rows)
    changed: dict[int, Unmetered] = {}
    for job in jobs:
        found = _of_run(job, spans[job.id])
        if found != (job.unmetered_nodes, job.unmetered_us):
            changed[job.id] = found
    if changed:
        rows = [(job, *found) for job, found in changed.items()]
        change_rows(session, table_of(Job), ("id", "unmetered_nodes", "unmetered_us"), rows)
    return changed


def _of_run(job: Any, spans: Sequence[_Span]) -> Unmetered:
    held = job.start is not None and job.state != RESIZED  # its newest record stands for all of a resized run
    without = max(0, (job.nnodes or 0) - len(spans)) if held else 0
    lost_us = sum([_lost_us(job, span) for span in spans])
    return Unmetered(without, without * (job.elapsed_s or 0) * US_PER_S + lost_us)


def _spans(
    session: Session, jobs: Collection[Any], ledgers: Mapping[int, Sequence[Any]], with_rows: Collection[int]
) -> dict[int, list[_Span]]:
    """The spans of runs on their nodes, only of nodes that have rows."""
    asked = [
        ledger.id
        for job in jobs
        for ledger in ledgers.get(job.id, ())
        if ledger.id not in with_rows or job.end is not None or ledger.closed is not None
    ]
    alloc_us = {row.ledger_id: int(row.alloc_us) for row in ask_ids(session, _ALLOCATED, asked)}
    spans: dict[int, list[_Span]] = {}
    for job in jobs:
        told = [one for one in ledgers.get(job.id, ()) if one.id in with_rows or one.id in alloc_us]
        nodes = [told] if len(told) == 1 else _by_node(told)
        spans[job.id] = [_span(many, sum([alloc_us.get(one.id, 0) for one in many])) for many in nodes]
    return spans


def _by_node(ledgers: Sequence[Any]) -> Collection[list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for ledger in ledgers:
        found[ledger.node_id].append(ledger)
    return found.values()


_ALLOCATED = (
    select(NodeJobSlot.ledger_id, func.sum(NodeJobSlot.alloc_us).label("alloc_us"))
    .where(NodeJobSlot.ledger_id.in_(IDS))
    .group_by(NodeJobSlot.ledger_id)
)


def _span(ledgers: Sequence[Any], alloc_us: int) -> _Span:
    if len(ledgers) == 1:  # as most: the rest takes four times as long
        (one,) = ledgers
        return _Span(one.opened, one.closed, alloc_us, one.source not in LATE_SOURCES)
    closed = [ledger.closed for ledger in ledgers]
    return _Span(
        opened=min(ledger.opened for ledger in ledgers),
        closed=None if None in closed else max(closed),
        alloc_us=alloc_us,
        from_start=any(ledger.source not in LATE_SOURCES for ledger in ledgers),
    )


def _lost_us(job: Any, span: _Span) -> int:
    """Time of a node that has rows, but not all of them.

    The ledger was opened late (no prolog ran), was never sealed, or rows in between never came. That of a node
    that crashed ends when the collector last saw the job, which Slurm says held it until the crash was noticed.
    """
    before_s = 0 if span.from_start or job.start is None else max(0, span.opened - job.start)
    until = job.end if span.closed is None or (job.end and job.state == "NODE_FAIL") else span.closed
    if until is None or job.state.startswith("SUSPENDED"):
        return before_s * US_PER_S
    missing_us = (until - span.opened - SEAL_SLACK_S) * US_PER_S - span.alloc_us
    return before_s * US_PER_S + max(0, missing_us)
