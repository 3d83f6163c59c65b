# SPDX-License-Identifier: MIT
"""Keeps rows apart that do not fit their run (fit.py). They are stored as such, and checked again when Slurm's record
changes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.models import Apart, Job, NodeJobSlot
from carbon_acct.db.row_types import JobRow, LedgerRow
from carbon_acct.db.rows import IDS, ask_ids, replace_rows, table_of
from carbon_acct.slurm.matching import Run, whole
from carbon_acct.sums import fit
from carbon_acct.sums.fit import Extent, Told
from carbon_acct.sums.job_slot import Delivered
from carbon_collector.meters.base import COMPONENTS

Pair = tuple[int, int]
Facility = Callable[[str, int], Fraction]
"""A function that returns the factor from a node's metered energy in a slot to facility energy."""


class Checked(NamedTuple):
    """The result of a check of runs' rows."""

    extents: Mapping[int, Extent]
    """By run. Those of which nothing is checked any more have none."""
    doubtful: frozenset[int]
    """Runs of which some rows do not fit: all of their rows are looked at, one by one."""
    again: frozenset[Pair]
    """Slots of runs, (job, slot), that have rows which did not fit before, or may not now."""
    known: Mapping[Pair, str]
    """Rows, (ledger, slot), that did not fit before."""

    def of_their_nodes(self, ledgers: Mapping[int, Sequence[LedgerRow]]) -> Mapping[int, Sequence[LedgerRow]]:
        """Return the ledgers of each run without those of nodes that were not its."""
        if not self.doubtful:
            return ledgers
        return {job: [one for one in many if self._is_its(job, one)] for job, many in ledgers.items()}

    def _is_its(self, job: int, ledger: LedgerRow) -> bool:
        nodes = self.extents[job].nodes if job in self.doubtful else None
        return nodes is None or ledger.node in nodes


def check(
    session: Session, jobs: Collection[JobRow], ledgers: Mapping[int, Sequence[LedgerRow]], told: Mapping[int, Told]
) -> Checked:
    """Check what the ledgers of runs say together, and return the runs of which some rows do not fit."""
    extents = {job.id: fit.extent([job]) for job in jobs}
    doubtful = {job.id: job for job in jobs if not fit.is_whole(extents[job.id], ledgers.get(job.id, ()), told)}
    for key, whole_run in _resized(session, doubtful).items():
        extents[key] = whole_run
        if fit.is_whole(whole_run, ledgers.get(key, ()), told):
            del doubtful[key]
    run_of = {ledger.id: job.id for job in jobs for ledger in ledgers.get(job.id, ())}
    known = {(row.ledger_id, row.slot): row.reason for row in ask_ids(session, _KNOWN, run_of)}
    again = {(run_of[ledger], slot) for ledger, slot in known}
    of_doubtful = [ledger for ledger, job in run_of.items() if job in doubtful]
    again |= {(run_of[ledger], slot) for ledger, slot in ask_ids(session, _SLOTS, of_doubtful)}
    return Checked(extents, frozenset(doubtful), frozenset(again), known)


_KNOWN = select(Apart.ledger_id, Apart.slot, Apart.reason).where(Apart.ledger_id.in_(IDS))
_SLOTS = select(NodeJobSlot.ledger_id, NodeJobSlot.slot).where(NodeJobSlot.ledger_id.in_(IDS))


def _resized(session: Session, doubtful: Mapping[int, JobRow]) -> dict[int, Extent]:
    """Return the extents of those runs that resizes split into several records."""
    found = {}
    for key, job in doubtful.items():
        rows = ask_ids(session, _RECORDS, [job.job_id_raw], cluster=job.cluster_id)
        by_id = {row.id: row for row in rows}
        runs = whole(Run(r.id, r.submit, r.start, r.end, r.state, r.restarts, r.sluid) for r in rows)
        parts = next((run.parts for run in runs if run.key == key), ())
        if parts:
            found[key] = fit.extent([by_id[part.key] for part in parts])
    return found


_RECORDS = select(*(Job.id, Job.submit, Job.start, Job.end, Job.state, Job.restarts, Job.sluid, Job.nodelist)).where(
    Job.cluster_id == bindparam("cluster"), Job.job_id_raw.in_(IDS)
)


def fitting(
    session: Session, checked: Checked, delivered: Mapping[Pair, list[Delivered]], facility: Facility
) -> dict[Pair, list[Delivered]]:
    """Return the rows of (job, slot) that fit; that the others do not is stored. `facility` returns by how much a
    node's energy is multiplied in a slot: its overhead, and the PUE.
    """
    reasons: dict[Pair, str] = {}
    for (job, slot), rows in delivered.items():
        extent = checked.extents.get(job)
        for row in rows if extent is not None else ():
            if reason := extent.misfit(row.ledger.node, slot):  # type: ignore[union-attr]  # it is not None here
                reasons[row.ledger.id, slot] = reason
    for pair in _beyond(checked, delivered, reasons):
        reasons[pair] = fit.NODE_TIME
    reasons |= dict.fromkeys(_over_ceiling(checked, delivered, reasons, facility), fit.CEILING)
    _store(session, checked, delivered, reasons)
    if not reasons:
        return dict(delivered)
    kept = {
        (job, slot): [row for row in rows if (row.ledger.id, slot) not in reasons]
        for (job, slot), rows in delivered.items()
    }
    return {key: rows for key, rows in kept.items() if rows}


def _over_ceiling(
    checked: Checked, delivered: Mapping[Pair, list[Delivered]], reasons: Mapping[Pair, str], facility: Facility
) -> list[Pair]:
    gone: list[Pair] = []
    for (job, slot), rows in delivered.items():
        if len(rows) <= fit.FEW or job not in checked.extents:
            continue
        kept = [row for row in rows if (row.ledger.id, slot) not in reasons]
        gone += [(ledger, slot) for ledger in fit.over_ceiling(_amount(row, slot, facility) for row in kept)]
    return gone


def _amount(delivered: Delivered, slot: int, facility: Facility) -> fit.Amount:
    ledger, row = delivered
    energy_uj = sum(row[f"{c}_uj"] or 0 for c in COMPONENTS)
    facility_uj = math.ceil(energy_uj * facility(ledger.node, slot))
    return fit.Amount(ledger.id, facility_uj, row["cpu_us"] or 0, row["alloc_us"] * (ledger.cpus or 0))


def _beyond(checked: Checked, delivered: Mapping[Pair, list[Delivered]], reasons: Mapping[Pair, str]) -> Iterable[Pair]:
    by_job: dict[int, list[tuple[str, int, int, int]]] = defaultdict(list)
    for (job, slot), rows in delivered.items():
        if job in checked.doubtful:
            by_job[job] += [
                (row.ledger.node, slot, row.ledger.id, row.row["alloc_us"])
                for row in rows
                if (row.ledger.id, slot) not in reasons
            ]
    return [pair for job, rows in by_job.items() for pair in fit.beyond(checked.extents[job], rows)]


def _store(
    session: Session, checked: Checked, delivered: Mapping[Pair, list[Delivered]], reasons: Mapping[Pair, str]
) -> None:
    new = [
        {"ledger_id": ledger, "slot": slot, "reason": reason}
        for (ledger, slot), reason in reasons.items()
        if checked.known.get((ledger, slot)) != reason
    ]
    seen = {(row.ledger.id, slot) for (_, slot), rows in delivered.items() for row in rows}
    gone = [pair for pair in checked.known if pair in seen and pair not in reasons]
    if new or gone:
        replace_rows(session, table_of(Apart), new, gone)


class ApartSum(NamedTuple):
    """Rows that do not fit their run, for one reason."""

    reason: str
    rows: int
    energy_uj: int


def sums(session: Session) -> list[ApartSum]:
    """Return how many rows do not fit their runs, and what energy they claim, by reason."""
    energies = [part for name in COMPONENTS for part in exact_parts(getattr(NodeJobSlot, f"{name}_uj"))]
    query = (
        select(Apart.reason, func.count(), *energies)
        .join(NodeJobSlot, (NodeJobSlot.ledger_id == Apart.ledger_id) & (NodeJobSlot.slot == Apart.slot))
        .group_by(Apart.reason)
        .order_by(Apart.reason)
    )
    return [
        ApartSum(reason, int(rows), sum(exact_whole(parts[i : i + 2]) or 0 for i in range(0, len(parts), 2)))
        for reason, rows, *parts in session.execute(query)
    ]
