# SPDX-License-Identifier: MIT
"""Stores Slurm's record of the jobs, and updates the sums that depend on what changed in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, select
from sqlalchemy.orm import Session

from carbon_acct.db.associations import association_id
from carbon_acct.db.clusters import cluster_named
from carbon_acct.db.models import Job, Ledger
from carbon_acct.db.rows import chunks, table_of
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.slurm.client import SlurmJob, leader_of
from carbon_acct.slurm.matching import RESIZED
from carbon_acct.sums import settle
from carbon_acct.sums.day_sum import Group, group_of, groups_of, move
from carbon_acct.sums.settle import update_runs

IDENTITY = ("start", "end", "state", "restarts", "sluid")
"""The columns that matching uses. Where one of them changes, the JobID's ledgers are matched again."""

SUMMED_BY = ("alloc_tres", "partition")
"""The columns that sums of slots depend on, by the devices that a job holds and by its zone."""

ASSOCIATION = ("uid", "user", "account", "partition", "qos")

MAX_ASKED = 1000

LENGTHS: dict[str, int] = {
    column.name: column.type.length
    for column in table_of(Job).columns
    if isinstance(column.type, String) and column.type.length
}


def record_jobs(session: Session, jobs: Sequence[SlurmJob], terms: SiteTerms) -> int:
    """Store runs of jobs as Slurm knows them now, and return how many were new or different."""
    by_cluster: dict[str, list[SlurmJob]] = defaultdict(list)
    for job in jobs:
        by_cluster[job.cluster].append(job)
    return sum(_record(session, cluster_named(session, name).id, rows, terms) for name, rows in by_cluster.items())


def _record(session: Session, cluster_id: int, jobs: Sequence[SlurmJob], terms: SiteTerms) -> int:
    known = _known(session, cluster_id, {job.job_id_raw for job in jobs})
    associations: dict[str, int] = {}
    stated = [(job, _values(session, cluster_id, job, associations)) for job in jobs]
    _move(session, known, stated)
    changed: list[Job] = []
    rematch: set[int] = set()
    again: set[int] = set()
    for job, values in stated:
        row = known.get((job.job_id_raw, job.submit))
        if row is None:
            row = Job(cluster_id=cluster_id, unmetered_us=0, unmetered_nodes=0, **values)
            known[job.job_id_raw, job.submit] = row
            session.add(row)
            rematch.add(job.job_id_raw)
        else:
            different = [name for name, value in values.items() if getattr(row, name) != value]
            if not different:
                continue
            # An ended run that lies elsewhere now leaves its estimates behind, even where it is as long as before.
            if row.end is not None and not {"start", "end"}.isdisjoint(different):
                again.add(row.id)
            for name in different:
                setattr(row, name, values[name])
            if not set(IDENTITY).isdisjoint(different):
                rematch.add(job.job_id_raw)
            if not set(SUMMED_BY).isdisjoint(different):
                again.add(row.id)
        changed.append(row)
    session.flush()
    pairs = settle.rematch(session, cluster_id, rematch) | settle.stored_slots(session, again)
    update_runs(session, _concerned(changed, known.values()) | {job for job, _ in pairs}, pairs, terms)
    return len(changed)


def _values(session: Session, cluster_id: int, job: SlurmJob, associations: dict[str, int]) -> dict[str, Any]:
    """Return the columns of a run as Slurm knows it now. An association that is new gets a row."""
    values = _fitting(vars(job)) | {"leader_id": leader_of(job.job_id, job.job_id_raw)}
    del values["cluster"]
    who = {name: values[name] for name in ASSOCIATION}
    values["association_id"] = association_id(session, associations, cluster_id=cluster_id, **who)
    return values


def _move(
    session: Session,
    known: Mapping[tuple[int, int], Job],
    stated: Iterable[tuple[SlurmJob, Mapping[str, Any]]],
) -> None:
    """Move the days of runs to the roll-ups of their new association and state, before these are written.

    What they are in is read under the lock, because another aggregator may have moved them since they were read.
    """
    after: dict[int, Group | None] = {}
    for job, values in stated:
        row = known.get((job.job_id_raw, job.submit))
        group = group_of(values["association_id"], values["state"])
        if row is not None and (row.id in after or group_of(row.association_id, row.state) != group):
            after[row.id] = group
    if after:
        locked = settle.lock_jobs(session, after)
        move(session, groups_of(locked), {key: after[key] for key in locked})


def _concerned(changed: Collection[Job], known: Iterable[Job]) -> set[int]:
    """Return the runs whose sums may change: those that changed, and the newest records of runs that were resized."""
    resized = {row.job_id_raw for row in changed if row.state == RESIZED}
    return {row.id for row in changed} | {row.id for row in known if row.job_id_raw in resized}


def _fitting(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values cut to their columns. A pending array's list of tasks may be longer, and servers refuse what SQLite
    takes.
    """
    return {
        name: value[: LENGTHS[name]] if isinstance(value, str) and name in LENGTHS else value
        for name, value in values.items()
    }


def _known(session: Session, cluster_id: int, job_ids: set[int]) -> dict[tuple[int, int], Job]:
    query = select(Job).where(Job.cluster_id == cluster_id)
    return {
        (row.job_id_raw, row.submit): row
        for part in chunks(job_ids)
        for row in session.scalars(query.where(Job.job_id_raw.in_(part)))
    }


@dataclass(frozen=True)
class Turn:
    """Cursors into the tables `job` and `ledger`: the last rows that Slurm was asked about by JobID.

    The next poll asks about the rows after them, and begins again at the first row after the last.
    """

    job: int = 0
    ledger: int = 0


def unsettled(
    session: Session, cluster_id: int, seen: Iterable[SlurmJob], since: int, turn: Turn
) -> tuple[dict[int, int], Turn]:
    """Return the JobIDs to ask Slurm about, at most MAX_ASKED in turn, with the time from which, and the next turn.

    They are jobs that had not ended and are missing from the last answer, and ledgers without a run. slurmdbd may have
    learnt of them late, with times before the window that was queried.
    """
    returned = {job.job_id_raw for job in seen}
    still_open = select(Job.id, Job.job_id_raw, Job.submit).where(Job.cluster_id == cluster_id, Job.end.is_(None))
    unmatched = select(Ledger.id, Ledger.job_id, Ledger.opened).where(
        Ledger.cluster_id == cluster_id, Ledger.matched_id.is_(None), Ledger.opened >= since
    )
    jobs, job = _in_turn(session, still_open, Job.id, turn.job, returned)
    ledgers, ledger = _in_turn(session, unmatched, Ledger.id, turn.ledger, returned)
    for job_id, at in ledgers.items():
        jobs[job_id] = min(at, jobs.get(job_id, at))
    return jobs, Turn(job, ledger)


def _in_turn(session: Session, query: Any, key: Any, last: int, returned: set[int]) -> tuple[dict[int, int], int]:
    """Return the JobIDs of the rows after `last`, followed by those from the first row on, and the id of the last row
    taken.
    """
    asked: dict[int, int] = {}
    for where in (key > last, key <= last):
        for row_id, job_id, at in session.execute(query.where(where).order_by(key)):
            if job_id not in returned:
                asked[job_id] = min(at, asked.get(job_id, at))
                last = row_id
            if len(asked) >= MAX_ASKED // 2:
                return asked, last
    return asked, last
