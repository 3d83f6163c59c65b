# SPDX-License-Identifier: MIT
"""Joins what the nodes delivered with Slurm's record of the jobs, and keeps its sums and emissions up to date.

Everything here is a function of the stored rows. So it may run at any time, any number of times, and in any order of
arrival. It recomputes only what a change touches, in the transaction of that change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.db import meta
from carbon_acct.db.models import Cluster, Job, JobSlot, Ledger, Node, NodeJobSlot, SlotFactor
from carbon_acct.db.row_types import JobRow, LedgerRow
from carbon_acct.db.rows import IDS, ask_dicts, ask_ids, change_rows, chunks, replace_rows, table_of
from carbon_acct.estimates.arithmetic import Estimate
from carbon_acct.estimates.unmetered_runs import estimate_unmetered
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.slurm.matching import Run, match
from carbon_acct.sums import apart, day_sum, unmetered
from carbon_acct.sums.day_sum import update
from carbon_acct.sums.job_slot import Delivered, job_slot_row

RUNS = 2500
"""The number of runs whose sums are computed at once. All of their rows in the slots concerned are in memory."""

JobSlotKey = tuple[int, int]
Slots = Mapping[int, Mapping[str, Any]]
"""The rows of node_job_slot of one ledger, by slot."""


class TransactionCache(NamedTuple):
    """A cache of what this transaction already holds, so that it is not read back.

    `rows`: the rows just written, by ledger id. `ledgers`: all ledgers of each run, or None if they must be queried.
    """

    rows: Mapping[int, Slots] = {}
    ledgers: Mapping[int, Sequence[LedgerRow]] | None = None


NO_CACHE = TransactionCache()


def rematch(session: Session, cluster_id: int, job_ids: Collection[int]) -> set[JobSlotKey]:
    """Match the ledgers of these JobIDs again. Return the (job, slot) pairs whose sums change.

    Ledgers from before the time since which delivered rows are kept stay as they are: rows of the run's other nodes may
    be gone.
    """
    runs = runs_of(session, cluster_id, job_ids)
    moved: dict[int, set[int]] = {}
    changed: list[tuple[int, int | None]] = []
    asked = {"cluster": cluster_id, "since": meta.delivered_from(session)}
    for ledger_id, job_id, run_key, opened, before in ask_ids(session, _LEDGERS, job_ids, **asked):
        found = match(run_key, opened, runs[job_id])
        key = found.key if found else None
        if key != before:
            moved[ledger_id] = {k for k in (key, before) if k is not None}
            changed.append((ledger_id, key))
    if not changed:
        return set()
    change_rows(session, table_of(Ledger), ("id", "matched_id"), changed)
    return {(job, slot) for ledger, slot in ask_ids(session, _SLOTS_OF, moved) for job in moved[ledger]}


def stored_slots(session: Session, job_keys: Collection[int]) -> set[JobSlotKey]:
    """Return the (job, slot) pairs that are stored of these runs."""
    return {(job, slot) for job, slot in ask_ids(session, _STORED_SLOTS, job_keys)} if job_keys else set()


def runs_of(session: Session, cluster_id: int, job_ids: Collection[int]) -> dict[int, list[Run]]:
    """Return Slurm's runs of these JobIDs."""
    runs: dict[int, list[Run]] = defaultdict(list)
    for job_id, *run in ask_ids(session, _RUNS, job_ids, cluster=cluster_id):
        runs[job_id].append(Run(*run))
    return runs


_RUNS = select(Job.job_id_raw, Job.id, Job.submit, Job.start, Job.end, Job.state, Job.restarts, Job.sluid).where(
    Job.cluster_id == bindparam("cluster"), Job.job_id_raw.in_(IDS)
)
_LEDGERS = select(Ledger.id, Ledger.job_id, Ledger.run, Ledger.opened, Ledger.matched_id).where(
    Ledger.cluster_id == bindparam("cluster"), Ledger.job_id.in_(IDS), Ledger.opened >= bindparam("since")
)
_SLOTS_OF = select(NodeJobSlot.ledger_id, NodeJobSlot.slot).where(NodeJobSlot.ledger_id.in_(IDS))


def update_runs(
    session: Session,
    job_keys: Collection[int],
    pairs: Collection[JobSlotKey],
    terms: SiteTerms,
    cache: TransactionCache = NO_CACHE,
) -> None:
    """Update everything that is computed of these runs, and of these (job, slot) pairs.

    Where a run's unmetered time changed, all of its slots are recomputed, because its estimates change too.
    """
    wanted: dict[int, set[int]] = {job: set() for job in job_keys}
    for job, slot in pairs:
        wanted.setdefault(job, set()).add(slot)
    counted = set(job_keys)
    for part in chunks(sorted(wanted), RUNS):
        _settle(session, {job: wanted[job] for job in part}, counted, terms, cache)


def update_slots(session: Session, pairs: Collection[JobSlotKey], terms: SiteTerms) -> None:
    """Recompute the sums and emissions of these (job, slot) pairs, and the days and roll-ups that follow from them.

    Slots whose delivered rows were pruned stay as they are.
    """
    update_runs(session, (), pairs, terms)


def update_estimates(session: Session, terms: SiteTerms, since: int) -> None:
    """Update the estimates of runs that ended since this time, because what they are based on may have arrived only
    now.
    """
    jobs = session.scalars(select(Job.id).where(Job.unmetered_us > 0, Job.end >= since))
    for part in chunks(sorted(jobs), RUNS):
        _settle(session, {job: set() for job in part}, (), terms, NO_CACHE)


def _settle(
    session: Session,
    wanted: dict[int, set[int]],
    counted: Collection[int],
    terms: SiteTerms,
    cache: TransactionCache,
) -> None:
    """Update runs. `wanted` are slots by job. Unmetered time is recounted for the jobs in `counted`, and estimated for
    all.
    """
    since = meta.delivered_from(session)
    jobs = lock_jobs(session, wanted)
    fresh = cache.rows
    ledgers = _ledgers(session, wanted) if cache.ledgers is None else cache.ledgers
    # Runs that ended before delivered rows are kept stay as they are.
    living = [job for job in jobs.values() if job.end is None or job.end >= since]
    told = unmetered.told_by(session, living, ledgers, fresh)
    checked = apart.check(session, living, ledgers, told)
    for job, slot in checked.again:
        wanted[job].add(slot)
    again = [job for job in living if job.id in counted]
    changed = unmetered.recount(session, again, checked.of_their_nodes(ledgers), fresh, told)
    for job, slot in ask_ids(session, _STORED_SLOTS, changed.keys() | checked.doubtful):
        wanted[job].add(slot)
    unmetered_jobs = [key for key, job in jobs.items() if (changed[key].us if key in changed else job.unmetered_us)]
    estimated = estimate_unmetered(session, unmetered_jobs, terms.estimates)
    for job, slot in estimated:
        wanted[job].add(slot)
    kept = {job: {slot for slot in slots if slot >= since} for job, slots in wanted.items()}
    wanted = {job: slots for job, slots in kept.items() if slots}
    _resum(session, jobs, ledgers, wanted, estimated, terms, fresh, checked)


_STORED_SLOTS = select(JobSlot.job_id, JobSlot.slot).where(JobSlot.job_id.in_(IDS))


def _resum(
    session: Session,
    jobs: Mapping[int, JobRow],
    ledgers: Mapping[int, Sequence[LedgerRow]],
    wanted: Mapping[int, set[int]],
    estimated: Mapping[JobSlotKey, Estimate],
    terms: SiteTerms,
    fresh: Mapping[int, Slots],
    checked: apart.Checked,
) -> None:
    if not wanted:
        return
    keys = [(job, slot) for job, slots in wanted.items() for slot in sorted(slots)]
    slots = [slot for _, slot in keys]
    between = {"low": min(slots), "high": max(slots)}
    stored = ask_dicts(session, _SUMMED_SLOTS, wanted, **between)
    before = {(row["job_id"], row["slot"]): row for row in stored}
    delivered = _delivered(session, ledgers, wanted, fresh, between)
    delivered = apart.fitting(session, checked, delivered, terms.facility)
    known = [key for key in keys if key in delivered or key in estimated]
    zones = {job: terms.zone(jobs[job].cluster, jobs[job].partition) for job in wanted}
    factors = terms.factors(session, {(zones[job], slot) for job, slot in known})
    idle = {job: terms.idle_use.of(jobs[job].alloc_tres) for job in wanted}
    after = {
        key: job_slot_row(
            key,
            delivered.get(key, ()),
            estimated.get(key),
            factors[zones[key[0]], key[1]],
            terms.node_types,
            idle[key[0]],
            jobs[key[0]].alloc_tres,
        )
        for key in known
    }
    gone = [key for key in keys if key in before and key not in after]
    replace_rows(session, table_of(JobSlot), list(after.values()), gone)
    starts = {slot: terms.days.start(slot) for slot in set(slots)}
    day_of = {slot: (start, terms.days.after(start)) for slot, start in starts.items()}
    days: dict[tuple[int, int], dict[int, day_sum.Slots]] = defaultdict(lambda: defaultdict(list))
    for key in keys:
        job, slot = key
        now = after.get(key)
        if now is not None:
            day_sum.weigh(now, factors[zones[job], slot])
        days[day_of[slot]][job].append((before.get(key), now))
    update(session, days, day_sum.groups_of({job: jobs[job] for job in wanted}))


def _delivered(
    session: Session,
    ledgers: Mapping[int, Sequence[LedgerRow]],
    wanted: Mapping[int, set[int]],
    fresh: Mapping[int, Slots],
    between: Mapping[str, int],
) -> dict[JobSlotKey, list[Delivered]]:
    """Return the rows that nodes delivered for jobs and slots. Only rows that are not fresh are queried: for most jobs,
    none.
    """
    found: dict[JobSlotKey, list[Delivered]] = defaultdict(list)
    asked: dict[int, tuple[int, LedgerRow]] = {}
    for job, slots in wanted.items():
        for ledger in ledgers.get(job, ()):
            rows = fresh.get(ledger.id, {})
            for slot in slots:
                if slot in rows:
                    found[job, slot].append(Delivered(ledger, rows[slot]))
                else:
                    asked[ledger.id] = job, ledger
    for row in ask_ids(session, _ROWS, asked, **between):
        job, ledger = asked[row.ledger_id]
        if row.slot in wanted[job] and row.slot not in fresh.get(ledger.id, {}):
            found[job, row.slot].append(Delivered(ledger, row._asdict()))
    return found


_BETWEEN: tuple[BindParameter[int], BindParameter[int]] = (bindparam("low"), bindparam("high"))
_SUMMED_SLOTS = (
    select(*table_of(JobSlot).columns, SlotFactor.source_id, *day_sum.SLOT_WEIGHTS)
    .join(SlotFactor, SlotFactor.id == JobSlot.factor_id)
    .where(JobSlot.job_id.in_(IDS), JobSlot.slot.between(*_BETWEEN))
)
_ROWS = select(*table_of(NodeJobSlot).columns).where(
    NodeJobSlot.ledger_id.in_(IDS), NodeJobSlot.slot.between(*_BETWEEN)
)


def _ledgers(session: Session, jobs: Collection[int]) -> dict[int, list[LedgerRow]]:
    """Return the ledgers of runs, with their nodes' names."""
    found: dict[int, list[LedgerRow]] = defaultdict(list)
    for row in ask_ids(session, _LEDGERS_OF, jobs):
        found[row.matched_id].append(row)
    return found


LEDGER = (
    *(Ledger.id, Ledger.matched_id, Node.name.label("node"), Ledger.opened, Ledger.closed, Ledger.source),
    *(Ledger.cpus, Ledger.node_cpus, Ledger.gpus),
)
"""The columns of a ledger that are needed, besides its node's id."""

_LEDGERS_OF = select(Ledger.node_id, *LEDGER).join(Node, Node.id == Ledger.node_id).where(Ledger.matched_id.in_(IDS))


def lock_jobs(session: Session, job_keys: Iterable[int]) -> dict[int, JobRow]:
    """Lock the runs and return them with their clusters' names. Other aggregators that change their sums wait for this
    transaction.
    """
    return {row.id: row for row in ask_ids(session, _LOCKED_JOBS, sorted(job_keys))}


_LOCKED_JOBS = (
    select(Job.id, Job.partition, Job.association_id, Job.unmetered_us, Job.unmetered_nodes, Job.state, Job.start)
    .add_columns(Job.end, Job.nnodes, Job.elapsed_s, Job.nodelist, Job.job_id_raw, Job.cluster_id, Job.alloc_tres)
    .add_columns(Cluster.name.label("cluster"))
    .join(Cluster, Cluster.id == Job.cluster_id)
    .where(Job.id.in_(IDS))
    .order_by(Job.id)
    .with_for_update(of=Job)
)
