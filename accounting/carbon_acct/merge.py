# SPDX-License-Identifier: MIT
"""Joins what the nodes delivered with Slurm's record of the jobs, and keeps the sums and prices of that.

Everything here is a function of the rows that are stored, so it may run at any time, any number of
times, and in any order of arrival. It recomputes only what a change touches, in the transaction of
that change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import BindParameter, bindparam, exists, func, select, update
from sqlalchemy.orm import Session

from carbon_acct import meta, rollup
from carbon_acct.db.models import Cluster, Job, JobSlot, Ledger, Node, NodeJobSlot, SlotPrice
from carbon_acct.db.rows import ask, replace_rows, table_of
from carbon_acct.matching import LATE_SOURCES, RESIZED, Run, match
from carbon_acct.missing import missing
from carbon_acct.prices import Prices
from carbon_acct.slotrow import summed
from carbon_collector.units import US_PER_S

CHUNK = 500
"""Values in one IN list; every database takes as many."""

SEAL_SLACK_S = 2
"""Opened and closed are whole seconds: a sealed ledger may span so much less than they say."""

T = TypeVar("T")
JobSlotKey = tuple[int, int]


def rematch(session: Session, cluster_id: int, job_ids: Collection[int]) -> set[JobSlotKey]:
    """Match the ledgers of these JobIDs again; the (job, slot) pairs whose sums that changes.

    Ledgers of before delivered rows are kept stay as they are: of the run's other nodes nothing may be left.
    """
    since = meta.delivered_from(session)
    moved: dict[int, set[int]] = {}
    changed: list[dict[str, int | None]] = []
    for part in chunks(job_ids):
        asked = {"cluster": cluster_id, "ids": part, "since": since}
        runs: dict[int, list[Run]] = defaultdict(list)
        for row in ask(session, _RUNS, asked):
            runs[row.job_id_raw].append(Run(row.id, row.submit, row.start, row.end, row.state, row.restarts, row.sluid))
        for ledger_id, job_id, run_key, opened, before in ask(session, _LEDGERS, asked):
            found = match(run_key, opened, runs[job_id])
            key = found.key if found else None
            if key != before:
                moved[ledger_id] = {k for k in (key, before) if k is not None}
                changed.append({"b_id": ledger_id, "matched_id": key})
    if not changed:
        return set()
    session.execute(_MATCH, changed)
    pairs: set[JobSlotKey] = set()
    slots = select(NodeJobSlot.ledger_id, NodeJobSlot.slot)
    for part in chunks(moved):
        for ledger_id, slot in session.execute(slots.where(NodeJobSlot.ledger_id.in_(part))):
            pairs |= {(job, slot) for job in moved[ledger_id]}
    return pairs


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_RUNS = select(Job.job_id_raw, Job.id, Job.submit, Job.start, Job.end, Job.state, Job.restarts, Job.sluid).where(
    Job.cluster_id == bindparam("cluster"), Job.job_id_raw.in_(_IDS)
)
_LEDGERS = select(Ledger.id, Ledger.job_id, Ledger.run, Ledger.opened, Ledger.matched_id).where(
    Ledger.cluster_id == bindparam("cluster"), Ledger.job_id.in_(_IDS), Ledger.opened >= bindparam("since")
)
_MATCH = update(table_of(Ledger)).where(Ledger.id == bindparam("b_id"))


def settle(session: Session, job_keys: Collection[int], pairs: Collection[JobSlotKey], prices: Prices) -> None:
    """Bring everything that is computed of these runs up to date, and these (job, slot) pairs of them.

    Where the time that nobody metered changed, all slots of the run are computed again: what was estimated for it, too.
    """
    changed = recount(session, job_keys)
    stored = select(JobSlot.job_id, JobSlot.slot)
    again: set[JobSlotKey] = set(pairs)
    for part in chunks(changed):
        again |= {(job, slot) for job, slot in session.execute(stored.where(JobSlot.job_id.in_(part)))}
    again |= missing(session, job_keys, prices.estimates).keys()
    resum(session, again, prices)


def estimate_again(session: Session, prices: Prices, since: int) -> None:
    """Estimate anew what nobody metered of runs that ended since: what it is estimated from may have come only now."""
    jobs = select(Job.id).where(Job.unmetered_us > 0, Job.end >= since)
    for part in chunks(sorted(session.scalars(jobs))):
        resum(session, missing(session, part, prices.estimates).keys(), prices)


def resum(session: Session, pairs: Collection[JobSlotKey], prices: Prices) -> None:
    """Compute the sums and prices of these (job, slot) pairs again, and what follows from them for days and roll-ups.

    Slots whose delivered rows were pruned stay as they are.
    """
    delivered_from = meta.delivered_from(session)
    by_job: dict[int, set[int]] = defaultdict(set)
    for job, slot in pairs:
        if slot >= delivered_from:
            by_job[job].add(slot)
    for part in chunks(sorted(by_job)):
        _resum(session, {job: by_job[job] for job in part}, prices)


def _resum(session: Session, wanted: Mapping[int, set[int]], prices: Prices) -> None:
    jobs = lock_jobs(session, wanted)
    slots = {slot for many in wanted.values() for slot in many}
    asked = {"ids": list(wanted), "low": min(slots), "high": max(slots)}
    before = {(row.job_id, row.slot): row._mapping for row in ask(session, _SUMMED_SLOTS, asked)}
    delivered: dict[JobSlotKey, list[Any]] = defaultdict(list)
    for row in ask(session, _DELIVERED, asked):
        if row.slot in wanted[row.matched_id]:
            delivered[row.matched_id, row.slot].append(row)
    keys = {(job, slot) for job, many in wanted.items() for slot in many}
    estimated = missing(session, [job for job, row in jobs.items() if row.unmetered_us], prices.estimates)
    known = keys & (delivered.keys() | estimated.keys())
    zones = {job: prices.zone(row.cluster, row.partition) for job, row in jobs.items()}
    price = prices.of(session, {(zones[job], slot) for job, slot in known})
    after = {
        (job, slot): summed(
            (job, slot), delivered[job, slot], estimated.get((job, slot)), price[zones[job], slot], prices.node_types
        )
        for job, slot in sorted(known)
    }
    replace_rows(session, table_of(JobSlot), list(after.values()), keys - after.keys())
    days: dict[tuple[int, int], dict[int, rollup.Slots]] = defaultdict(lambda: defaultdict(list))
    for job, slot in sorted(keys):
        now = rollup.weighed(after[job, slot], price[zones[job], slot]) if (job, slot) in after else None
        start = prices.days.start(slot)
        days[start, prices.days.after(start)][job].append((before.get((job, slot)), now))
    rollup.follow(session, days, {job: row.association_id for job, row in jobs.items()})


_BETWEEN: tuple[BindParameter[int], BindParameter[int]] = (bindparam("low"), bindparam("high"))
_SUMMED_SLOTS = (
    select(*table_of(JobSlot).columns, SlotPrice.source_id, *rollup.SLOT_WEIGHTS)
    .join(SlotPrice, SlotPrice.id == JobSlot.price_id)
    .where(JobSlot.job_id.in_(_IDS), JobSlot.slot.between(*_BETWEEN))
)
_DELIVERED = (
    select(Ledger.matched_id, Ledger.cpus, Ledger.node_cpus, Ledger.gpus, Node.name.label("node"))
    .add_columns(*table_of(NodeJobSlot).columns)
    .join(NodeJobSlot, NodeJobSlot.ledger_id == Ledger.id)
    .join(Node, Node.id == Ledger.node_id)
    .where(Ledger.matched_id.in_(_IDS), NodeJobSlot.slot.between(*_BETWEEN))
)


def lock_jobs(session: Session, job_keys: Collection[int]) -> dict[int, Any]:
    """The runs, with their clusters' names; other aggregators that change their sums wait until this one is done."""
    return {row.id: row for row in ask(session, _LOCKED_JOBS, {"ids": list(job_keys)})}


_LOCKED_JOBS = (
    select(Job.id, Job.partition, Job.association_id, Job.unmetered_us, Cluster.name.label("cluster"))
    .join(Cluster, Cluster.id == Job.cluster_id)
    .where(Job.id.in_(_IDS))
    .order_by(Job.id)
    .with_for_update(of=Job)
)


def recount(session: Session, job_keys: Collection[int]) -> list[int]:
    """Compute again for how much node-time of these runs there is no row at all; those for which it is another one now.

    A node with rows counts by its ledger, because Slurm's times are whole seconds and a job metered from
    prolog to epilog must come out whole. A node of the job's list without rows counts by Slurm's elapsed time.
    Runs that ended before delivered rows are kept stay as they are.
    """
    since = meta.delivered_from(session)
    different: list[int] = []
    for part in chunks(job_keys):
        jobs = [job for job in ask(session, _COUNTED_JOBS, {"ids": part}) if job.end is None or job.end >= since]
        spans = _spans(session, jobs)
        changed = []
        for job in jobs:
            nodes = spans[job.id]
            held = job.start is not None and job.state != RESIZED  # its newest record stands for all of a resized run
            without = max(0, (job.nnodes or 0) - len(nodes)) if held else 0
            lost_us = without * (job.elapsed_s or 0) * US_PER_S + sum(_lost_us(job, span) for span in nodes)
            if (without, lost_us) != (job.unmetered_nodes, job.unmetered_us):
                changed.append({"b_id": job.id, "unmetered_nodes": without, "unmetered_us": lost_us})
        if changed:
            session.execute(_COUNT, changed)
        different += [row["b_id"] for row in changed]
    return different


_COUNTED_JOBS = select(
    *(Job.id, Job.start, Job.end, Job.state, Job.nnodes, Job.elapsed_s, Job.unmetered_nodes, Job.unmetered_us)
).where(Job.id.in_(_IDS))
_COUNT = update(table_of(Job)).where(Job.id == bindparam("b_id"))


class _Span(NamedTuple):
    """What the ledgers of one node say of a run. `closed` None: not all of them are sealed.

    `alloc_us` is only added up where the span has an end.
    """

    opened: int
    closed: int | None
    alloc_us: int
    from_start: bool


def _spans(session: Session, jobs: Collection[Any]) -> dict[int, list[_Span]]:
    """The node spans of runs, only of nodes that have rows."""
    ended = {job.id for job in jobs if job.end is not None}
    ledgers: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for row in ask(session, _LEDGERS_WITH_ROWS, {"ids": [job.id for job in jobs]}):
        ledgers[row.matched_id, row.node_id].append(row)
    counted = [
        row.id
        for (job, _), rows in ledgers.items()
        if job in ended or all(row.closed is not None for row in rows)
        for row in rows
    ]
    alloc_us: dict[int, int] = {}
    for part in chunks(counted):
        alloc_us |= {ledger: int(total) for ledger, total in ask(session, _ALLOCATED, {"ids": part})}
    spans: dict[int, list[_Span]] = defaultdict(list)
    for (job, _), rows in ledgers.items():
        closed = [row.closed for row in rows]
        spans[job].append(
            _Span(
                opened=min(row.opened for row in rows),
                closed=None if None in closed else max(closed),
                alloc_us=sum(alloc_us.get(row.id, 0) for row in rows),
                from_start=any(row.source not in LATE_SOURCES for row in rows),
            )
        )
    return spans


_LEDGERS_WITH_ROWS = select(
    Ledger.id, Ledger.matched_id, Ledger.node_id, Ledger.opened, Ledger.closed, Ledger.source
).where(Ledger.matched_id.in_(_IDS), exists().where(NodeJobSlot.ledger_id == Ledger.id))
_ALLOCATED = (
    select(NodeJobSlot.ledger_id, func.sum(NodeJobSlot.alloc_us))
    .where(NodeJobSlot.ledger_id.in_(_IDS))
    .group_by(NodeJobSlot.ledger_id)
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


def chunks(values: Collection[T]) -> Iterator[list[T]]:
    """The values in lists short enough for an IN."""
    items = list(values)
    for at in range(0, len(items), CHUNK):
        yield items[at : at + CHUNK]
