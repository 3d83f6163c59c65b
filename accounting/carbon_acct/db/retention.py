# SPDX-License-Identifier: MIT
"""Retention: deletes old data, kind by kind.

Delivered rows go first. From then on late rows are refused, because a sum can no longer be made of all of them. Slots
of jobs are folded into the days that were made of them. Jobs go last. Roll-ups and the site's sums stay for ever. A run
that is interrupted goes on with the next one, because the times from which data is kept are set before anything is
deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from carbon_acct.db import meta
from carbon_acct.db.engine import Database
from carbon_acct.db.models import Apart, Job, JobDay, JobSlot, Ledger, NodeJobSlot, NodeSlot, NodeTotal, Segment
from carbon_acct.db.rows import chunks
from carbon_collector.units import DAY_S

BATCH = 2000
"""The number of ledgers or jobs in one transaction. Rows by slot go a day at a time. Segments are stored in between."""


@dataclass(frozen=True)
class Horizons:
    """The epoch seconds from which each kind is kept. A kind that is kept for ever has 0."""

    delivered: int
    slots: int
    jobs: int


@dataclass(frozen=True)
class Counts:
    """The number of rows of each kind that are older than its horizon."""

    segments: int
    node_job_slots: int
    node_slots: int
    job_slots: int
    jobs: int


def counts(session: Session, horizons: Horizons) -> Counts:
    """Return how many rows `prune` would delete."""

    def count(query: Any) -> int:
        return int(session.scalar(query) or 0)

    pruned = select(Ledger.id).where(_old_ledgers(horizons.delivered))
    return Counts(
        segments=count(select(func.count()).where(Segment.received < horizons.delivered)),
        node_job_slots=count(select(func.count()).where(NodeJobSlot.ledger_id.in_(pruned))),
        node_slots=count(select(func.count()).where(NodeSlot.slot < horizons.delivered)),
        job_slots=count(select(func.count()).where(JobSlot.slot < horizons.slots)),
        jobs=count(select(func.count()).where(_old_jobs(horizons.jobs))),
    )


def prune(database: Database, horizons: Horizons, gone: Callable[[int], None]) -> None:
    """Delete what is older than the horizons. `gone` is called with the number of rows deleted. Raises DatabaseError."""

    def begin(session: Session) -> None:
        for key, value in ((meta.DELIVERED_FROM, horizons.delivered), (meta.SLOTS_FROM, horizons.slots)):
            if value > int(meta.get(session, key) or 0):
                meta.put(session, key, str(value))

    database.run(begin)
    for step in (*_delivered(horizons.delivered), _slots(horizons.slots), _jobs(horizons.jobs)):
        while True:
            rows = database.run(step)
            if not rows:
                break
            gone(rows)


Step = Callable[[Session], int]
"""A function that deletes a part and returns the number of rows deleted, 0 when nothing is left."""


def _delivered(since: int) -> Iterator[Step]:
    yield lambda session: _ledgers(session, since)
    yield lambda session: _oldest_day(session, NodeSlot, NodeSlot.slot, since)
    yield lambda session: _oldest_day(session, NodeTotal, NodeTotal.slot, since)
    yield lambda session: _oldest_day(session, Segment, Segment.received, since)


def _slots(since: int) -> Step:
    return lambda session: _oldest_day(session, JobSlot, JobSlot.slot, since)


def _jobs(since: int) -> Step:
    def step(session: Session) -> int:
        ids = list(session.scalars(select(Job.id).where(_old_jobs(since)).limit(BATCH)))
        rows = len(ids)
        for part in chunks(ids):
            for table, column in ((JobDay, JobDay.job_id), (JobSlot, JobSlot.job_id), (Job, Job.id)):
                session.execute(delete(table).where(column.in_(part)))
        return rows

    return step


def _ledgers(session: Session, since: int) -> int:
    """Delete ledgers of jobs that ended long ago, together with all of their rows, and return how many rows."""
    ids = list(session.scalars(select(Ledger.id).where(_old_ledgers(since)).limit(BATCH)))
    rows = len(ids)
    for part in chunks(ids):
        rows += _deleted(session, delete(NodeJobSlot).where(NodeJobSlot.ledger_id.in_(part)))
        session.execute(delete(Apart).where(Apart.ledger_id.in_(part)))
        session.execute(delete(Ledger).where(Ledger.id.in_(part)))
    return rows


def _oldest_day(session: Session, model: Any, column: Any, since: int) -> int:
    oldest = session.scalar(select(func.min(column)))
    if oldest is None or oldest >= since:
        return 0
    return _deleted(session, delete(model).where(column < min(oldest + DAY_S, since)))


def _deleted(session: Session, statement: Any) -> int:
    found: Any = session.execute(statement)
    return int(found.rowcount)


def _old_ledgers(since: int) -> Any:
    """Return the condition for ledgers whose job has ended by Slurm's record and the node's. Ledgers without a job
    stay, and stay visible.
    """
    ended = select(Job.id).where(Job.end < since)
    return and_(Ledger.matched_id.in_(ended), or_(Ledger.closed.is_(None), Ledger.closed < since))


def _old_jobs(since: int) -> Any:
    """Return the condition for jobs that have ended and have no ledger left."""
    return and_(Job.end < since, ~select(Ledger.id).where(Ledger.matched_id == Job.id).exists())
