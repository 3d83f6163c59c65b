# SPDX-License-Identifier: MIT
"""Finds the runs of jobs that are asked for and may be seen, in a form that each database has an index for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Subquery, and_, false, func, or_, select, union, union_all
from sqlalchemy.orm import Session

from carbon_acct.access.viewer import Viewer
from carbon_acct.client.job_states import STATES
from carbon_acct.db.models import Association, Cluster, Job, JobSlot
from carbon_acct.db.rows import ask, table_of
from carbon_acct.slurm.matching import RESIZED
from carbon_acct.window import FOREVER, Window
from carbon_collector.hostlist import expand
from carbon_collector.units import DAY_S, SLOT_S

SKEW_S = DAY_S
"""The seconds by which a node's slots of a job may be later than Slurm's end of it, however wrong the node's clock is.
"""


@dataclass(frozen=True)
class Filters:
    """The jobs that are asked for, as far as `viewer` may see them. An empty sequence does not filter."""

    viewer: Viewer
    uids: Sequence[int] = ()
    users: Sequence[str] = ()
    accounts: Sequence[str] = ()
    partitions: Sequence[str] = ()
    qos: Sequence[str] = ()
    states: Sequence[str] = ()
    jobs: Sequence[str] = ()
    nodes: str = ""
    clusters: Sequence[str] = ()
    window: Window = field(default_factory=Window)
    truncate: bool = False
    duplicates: bool = False
    most: int | None = None
    """Rows; where there are more, ValueError says how to ask for fewer."""


SLURM_COLUMNS = (
    *("job_id", "job_id_raw", "name", "user", "uid", "account", "partition", "qos", "cluster", "state", "exit_code"),
    *("restarts", "submit", "start", "end", "elapsed_s", "nnodes", "ncpus", "alloc_tres", "nodelist"),
)
"""The columns of Slurm's record of a run that an answer has."""

_OF_JOB = table_of(Job).columns
SHOWN = (
    *(Cluster.name.label("cluster") if name == "cluster" else _OF_JOB[name] for name in SLURM_COLUMNS),
    *(_OF_JOB.id, _OF_JOB.cluster_id, _OF_JOB.unmetered_us, _OF_JOB.unmetered_nodes),
)
"""The columns that `find_runs` selects: SLURM_COLUMNS first, then what the figures of a run need."""


def find_runs(session: Session, filters: Filters) -> list[Any]:
    """Rows of SHOWN, sorted. Raises ValueError on a bad filter."""
    query = select(*SHOWN).join(Cluster, Cluster.id == Job.cluster_id)
    narrow = _narrow(filters)
    if narrow is not None:
        query = query.join(narrow, narrow.c.id == Job.id)
    query = query.where(*_conditions(filters)).order_by(Cluster.name, Job.job_id_raw, Job.submit)
    if filters.most is not None:
        query = query.limit(filters.most + 1)
    found = list(ask(session, query, {}))
    if filters.most is not None and len(found) > filters.most:
        raise ValueError(f"more than {filters.most} jobs; ask for fewer, by start and end, users, accounts or JobIDs")
    if not filters.nodes:
        return _newest(found, filters)
    wanted = set(expand(filters.nodes))
    return _newest([job for job in found if not wanted.isdisjoint(_nodes_of(job))], filters)


def _nodes_of(job: Any) -> list[str]:
    try:
        return expand(job.nodelist or "")
    except ValueError:
        return []


def _newest(rows: list[Any], filters: Filters) -> list[Any]:
    """Return the newest run of each JobID, and the records before its resizes, as sacct without -D; all runs if
    duplicates are wanted.
    """
    if filters.duplicates:
        return rows
    newest = {(job.cluster_id, job.job_id_raw): job.id for job in rows}
    return [job for job in rows if job.state == RESIZED or newest[job.cluster_id, job.job_id_raw] == job.id]


def _narrow(filters: Filters) -> Subquery | None:
    """The jobs among which those that are asked for are, in a form that each database has an index for.

    No database has one for `end >= x OR end IS NULL`, which is therefore asked in two halves; and whoever is asked
    for by whatever of Slurm's association is found by that. The indexes of JobIDs begin with the cluster.
    """
    if filters.jobs:
        heads = {_head(text) for text in filters.jobs}
        of_clusters = select(Job.id).join(Cluster, Cluster.id == Job.cluster_id)
        return union(
            of_clusters.where(Job.job_id_raw.in_(heads)), of_clusters.where(Job.leader_id.in_(heads))
        ).subquery()
    associations = [*_visible(filters.viewer, Association), *_who(filters, Association)]
    by_who = [Job.association_id.in_(select(Association.id).where(*associations))] if associations else []
    low = filters.window.low - (SKEW_S if filters.truncate else 0)
    if low <= 0 or "PENDING" in map(_state_name, filters.states):  # jobs that never started may have ended long before
        return select(Job.id).where(*by_who).subquery() if by_who else None
    open_jobs, ended = (select(Job.id).where(*by_who, half) for half in (Job.end.is_(None), Job.end >= low))
    return union_all(open_jobs, ended).subquery()


def _who(filters: Filters, model: type[Job] | type[Association]) -> list[ColumnElement[bool]]:
    """What is asked of the columns that a job has in common with its association."""
    conditions: list[ColumnElement[bool]] = []
    if filters.users or filters.uids:
        conditions.append(or_(model.user.in_(filters.users), model.uid.in_(filters.uids)))
    for column, wanted in (
        (model.account, filters.accounts),
        (model.partition, filters.partitions),
        (model.qos, filters.qos),
    ):
        if wanted:
            conditions.append(column.in_(wanted))
    return conditions


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    conditions = [*_visible(filters.viewer, Job), *_who(filters, Job), *_window_conditions(filters)]
    if filters.clusters:
        conditions.append(Cluster.name.in_(filters.clusters))
    if filters.jobs:
        conditions.append(or_(*(_job_condition(text) for text in filters.jobs)))
    return conditions


def _visible(viewer: Viewer, model: type[Job] | type[Association]) -> list[ColumnElement[bool]]:
    if viewer.sees_all:
        return []
    own = [model.user == viewer.user] if viewer.user else []
    return [or_(*own, model.account.in_(viewer.accounts))]


def _job_condition(text: str) -> ColumnElement[bool]:
    """`12` is that job, and every task or component of it; `12_3` and `12+1` are one each."""
    head = _head(text)
    if text.isdigit():
        return or_(Job.job_id_raw == head, Job.leader_id == head)
    return and_(Job.leader_id == head, Job.job_id == text)


def _head(text: str) -> int:
    """Return the number before `_` or `+`. Raises ValueError."""
    head = text.replace("+", "_").partition("_")[0]
    if not head.isascii() or not head.isdigit() or len(head) >= 19:
        raise ValueError(f"not a JobID: {text!r}; it looks like 12, 12_3 or 12+1")
    return int(head)


def _window_conditions(filters: Filters) -> list[ColumnElement[bool]]:
    """Jobs that overlap the window as in sacct; with `truncate` also any that has a slot in it."""
    window = filters.window
    by_time = _in_states(filters.states, window) if filters.states else _eligible_in(window)
    if not filters.truncate or (window.start is None and window.end is None):
        return [by_time]
    # Not EXISTS: MariaDB would take it for a join, and look at every slot of the window.
    first = select(func.min(JobSlot.slot)).where(
        JobSlot.job_id == Job.id, JobSlot.slot > window.low - SLOT_S, JobSlot.slot < min(window.high, 2**62)
    )
    slots = first.scalar_subquery().is_not(None)
    states = or_(*(_state(name) for name in filters.states)) if filters.states else None
    return [or_(by_time, slots if states is None else and_(slots, states))]


_END = func.coalesce(Job.end, FOREVER)
"""Of a run that has not ended: later than everything. Not in a form that an index is taken for; `_narrow` has that."""


def _eligible_in(window: Window) -> ColumnElement[bool]:
    """as_mysql_jobacct_process.c without states: eligible before the end, not ended before the start."""
    return and_(
        func.coalesce(Job.eligible, Job.submit) < window.high,
        window.low <= _END,
    )


def _in_states(states: Iterable[str], window: Window) -> ColumnElement[bool]:
    """With states sacct asks when the job was in that state."""
    choices: list[ColumnElement[bool]] = [false()]
    for text in states:
        name = _state_name(text)
        if name == "RUNNING":
            choices.append(and_(Job.start < window.high, window.low < _END))
        elif name == "PENDING":
            eligible = func.coalesce(Job.eligible, Job.submit)
            choices.append(and_(eligible < window.high, or_(Job.start.is_(None), Job.start > window.low)))
        else:
            ended = or_(Job.end.is_(None), and_(Job.end >= window.low, Job.end < window.high))
            choices.append(and_(_state(text), ended))
    return or_(*choices)


def _state(text: str) -> ColumnElement[bool]:
    """Return the condition for a state. `CANCELLED by 1000` is CANCELLED."""
    return Job.state.startswith(_state_name(text), autoescape=True)


def _state_name(text: str) -> str:
    name = STATES.get(text.upper(), text.upper())
    if name not in (*STATES.values(), "COMPLETING", "CONFIGURING"):
        raise ValueError(f"not a job state: {text!r}")
    return name
