# SPDX-License-Identifier: MIT
"""Finds the runs of jobs that are asked for and may be seen, in a form that each database has an index for."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, func, or_, select, union, union_all
from sqlalchemy.orm import Session

from carbon_acct.access.viewer import Viewer
from carbon_acct.client.job_states import STATES
from carbon_acct.db.lists import Lists
from carbon_acct.db.models import Association, Cluster, Job, JobSlot
from carbon_acct.db.rows import ask, table_of
from carbon_acct.slurm.matching import RESIZED
from carbon_acct.window import FOREVER, Window
from carbon_collector.hostlist import expand
from carbon_collector.units import DAY_S, SLOT_S

SKEW_S = DAY_S
"""The seconds by which a node's slots of a job may be later than Slurm's end of it, however wrong the node's clock is.
"""


REVOKED = "REVOKED"
"""The state of a federated job on the clusters that did not get it."""


class Between(NamedTuple):
    """A range of whole numbers, both ends within."""

    least: int
    most: int


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
    names: Sequence[str] = ()
    gids: Sequence[int] = ()
    nnodes: Between | None = None
    ncpus: Between | None = None
    timelimit: Between | None = None
    """In minutes. A job without a limit of its own is in no range."""
    window: Window = field(default_factory=Window)
    truncate: bool = False
    duplicates: bool = False
    most: int | None = None
    """Runs in a page (`find_page`); a JobID's runs are never of two pages."""
    after: tuple[str, int] | None = None
    """The page begins after this cluster and JobIDRaw."""


SLURM_COLUMNS = (
    *("job_id", "job_id_raw", "name", "user", "uid", "account", "partition", "qos", "cluster", "state", "exit_code"),
    *("restarts", "submit", "start", "end", "elapsed_s", "nnodes", "ncpus", "alloc_tres", "nodelist"),
    *("group", "gid", "eligible", "timelimit_s", "req_cpus", "req_nodes", "req_tres", "reason", "comment", "workdir"),
    *("derived_exit_code", "suspended_s"),
)
"""The columns of Slurm's record of a run that an answer has."""

_OF_JOB = table_of(Job).columns
SHOWN = (
    *(Cluster.name.label("cluster") if name == "cluster" else _OF_JOB[name] for name in SLURM_COLUMNS),
    *(_OF_JOB.id, _OF_JOB.cluster_id, _OF_JOB.unmetered_us, _OF_JOB.unmetered_nodes),
)
"""The columns that `find_runs` selects: SLURM_COLUMNS first, then what the figures of a run need."""


class Page(NamedTuple):
    """Rows of SHOWN, sorted, and the cluster and JobIDRaw after which the next page begins; None: there is none."""

    rows: list[Any]
    next: tuple[str, int] | None


def find_runs(session: Session, filters: Filters) -> list[Any]:
    """Return rows of SHOWN, sorted; those of a page where `filters.most` bounds them. Raises ValueError on a bad filter."""
    return find_page(session, filters).rows


def find_page(session: Session, filters: Filters) -> Page:
    """Return the first `filters.most` runs after `filters.after`. Raises ValueError on a bad filter.

    Which jobs ran on given nodes is known only after the query, so a page may hold fewer runs and not be the last.
    """
    wanted = set(expand(filters.nodes))
    found, next_ = _whole_jobs(session, _query(filters, session.get_bind().dialect.name), filters.most)
    found = _newest(found, filters)  # first: a run that waits again has no nodes, and hides the run before it
    if filters.nodes:
        found = [job for job in found if not wanted.isdisjoint(_nodes_of(job))]
    return Page(found, next_)


def _whole_jobs(session: Session, query: Select[Any], most: int | None) -> tuple[list[Any], tuple[str, int] | None]:
    """Return at most this many rows, without those of a JobID that would continue on the next page, and where that page
    begins.

    A JobID that was requeued more often than a page has rows makes the page longer.
    """
    if most is None:
        return list(ask(session, query, {})), None
    found = list(ask(session, query.limit(most + 1), {}))
    if len(found) <= most:
        return found, None
    last = found[-1]
    whole = [job for job in found if (job.cluster, job.job_id_raw) != (last.cluster, last.job_id_raw)]
    if not whole:
        return _whole_jobs(session, query, 2 * most)
    return whole, (whole[-1].cluster, whole[-1].job_id_raw)


def _query(filters: Filters, dialect: str) -> Select[Any]:
    lists = Lists(dialect)
    query = select(*SHOWN).join(Cluster, Cluster.id == Job.cluster_id)
    narrow = _narrow(filters, lists)
    if narrow is not None:
        query = query.join(narrow, narrow.c.id == Job.id)
    query = query.where(*_conditions(filters, lists)).order_by(Cluster.name, Job.job_id_raw, Job.submit)
    if filters.after is not None:
        cluster, job_id = filters.after
        query = query.where(or_(Cluster.name > cluster, and_(Cluster.name == cluster, Job.job_id_raw > job_id)))
    return query


def _nodes_of(job: Any) -> list[str]:
    try:
        return expand(job.nodelist or "")
    except ValueError:
        return []


def _newest(rows: list[Any], filters: Filters) -> list[Any]:
    """Return the newest run of each JobID, and the records before its resizes, as sacct without -D; all runs if
    duplicates are wanted. A federated job that a sister cluster took is REVOKED here, and no run of this cluster's.
    """
    if filters.duplicates:
        return rows
    newest = {(job.cluster_id, job.job_id_raw): job.id for job in rows}
    return [
        job
        for job in rows
        if job.state == RESIZED or (newest[job.cluster_id, job.job_id_raw] == job.id and job.state != REVOKED)
    ]


def _narrow(filters: Filters, lists: Lists) -> Subquery | None:
    """Return the jobs among which the wanted ones are, in a form that each database has an index for.

    No database has an index for `end >= x OR end IS NULL`, so that is queried in two halves. Jobs that are asked for by
    a column of Slurm's association are found by the association. The indexes of JobIDs begin with the cluster.
    """
    if filters.jobs:
        heads = {head(text) for text in filters.jobs}
        of_clusters = select(Job.id).join(Cluster, Cluster.id == Job.cluster_id)
        return union(
            of_clusters.where(lists.among(Job.job_id_raw, heads)), of_clusters.where(lists.among(Job.leader_id, heads))
        ).subquery()
    associations = [*visible(filters.viewer, Association, lists), *of_whom(filters, Association, lists)]
    by_who = [Job.association_id.in_(select(Association.id).where(*associations))] if associations else []
    low = filters.window.low - (SKEW_S if filters.truncate else 0)
    if low <= 0 or "PENDING" in map(state_name, filters.states):  # jobs that never started may have ended long before
        return select(Job.id).where(*by_who).subquery() if by_who else None
    open_jobs, ended = (select(Job.id).where(*by_who, half) for half in (Job.end.is_(None), Job.end >= low))
    return union_all(open_jobs, ended).subquery()


def of_whom(filters: Filters, model: type[Job] | type[Association], lists: Lists) -> list[ColumnElement[bool]]:
    """Return the conditions on the columns that a job has in common with its association."""
    conditions: list[ColumnElement[bool]] = []
    if filters.users or filters.uids:
        conditions.append(or_(lists.among(model.user, filters.users), lists.among(model.uid, filters.uids)))
    for column, wanted in (
        (model.account, filters.accounts),
        (model.partition, filters.partitions),
        (model.qos, filters.qos),
    ):
        if wanted:
            conditions.append(lists.among(column, wanted))
    return conditions


def _conditions(filters: Filters, lists: Lists) -> list[ColumnElement[bool]]:
    conditions = [*visible(filters.viewer, Job, lists), *of_whom(filters, Job, lists)]
    conditions += _window_conditions(filters, lists)
    if filters.clusters:
        conditions.append(lists.among(Cluster.name, filters.clusters))
    if filters.names:
        conditions.append(lists.among(Job.name, filters.names))
    if filters.gids:
        conditions.append(lists.among(Job.gid, filters.gids))
    if filters.jobs:
        conditions.append(_of_jobs(filters.jobs, lists))
    return conditions + _of_size(filters)


def _of_size(filters: Filters) -> list[ColumnElement[bool]]:
    """Return the conditions on what jobs were given. One that waits was given nothing: its sizes are those it asks for."""
    sizes = [(Job.nnodes, filters.nnodes), (Job.ncpus, filters.ncpus)]
    found = [and_(Job.nodelist != "", column.between(*wanted)) for column, wanted in sizes if wanted is not None]
    if filters.timelimit is not None:
        found.append(Job.timelimit_s.between(filters.timelimit.least * 60, filters.timelimit.most * 60 + 59))
    return found


def visible(viewer: Viewer, model: type[Job] | type[Association], lists: Lists) -> list[ColumnElement[bool]]:
    """Return the conditions under which a viewer sees a job, on columns that it has in common with its association."""
    if viewer.sees_all:
        return []
    own = [model.user == viewer.user] if viewer.user else []
    return [or_(*own, lists.among(model.account, viewer.accounts))]


def _of_jobs(texts: Sequence[str], lists: Lists) -> ColumnElement[bool]:
    """Return the condition for JobIDs: `12` is that job and all its tasks and components; `12_3` and `12+1` are one
    each.
    """
    whole = [head(text) for text in texts if text.isdigit()]
    parts = [text for text in texts if not text.isdigit()]
    return or_(
        lists.among(Job.job_id_raw, whole),
        lists.among(Job.leader_id, whole),
        and_(lists.among(Job.leader_id, map(head, parts)), lists.among(Job.job_id, parts)),
    )


def head(text: str) -> int:
    """Return the number before `_` or `+`. Raises ValueError."""
    head = text.replace("+", "_").partition("_")[0]
    if not head.isascii() or not head.isdigit() or len(head) >= 19:
        raise ValueError(f"not a JobID: {text!r}; it looks like 12, 12_3 or 12+1")
    return int(head)


def _window_conditions(filters: Filters, lists: Lists) -> list[ColumnElement[bool]]:
    """Return the conditions for jobs that overlap the window as in sacct. With `truncate` also jobs that have a whole
    slot in it: a node's clock may be wrong, and a job that ran beside the window has a part of a slot at its border.
    """
    window = filters.window
    names = {state_name(text) for text in filters.states}
    by_time = _in_states(names, window, lists) if names else _eligible_in(window, bool(filters.jobs))
    if not filters.truncate or (window.start is None and window.end is None):
        return [by_time]
    # Not EXISTS: MariaDB would take it for a join, and look at every slot of the window.
    # A job shares the slots at its borders with others: it is in the window only if its own time there is. A slot that
    # lies outside the job's time, as a wrong clock makes it, counts where it lies.
    ran_inside = and_(Job.start < min(window.high, FOREVER), window.low < _END)
    elsewhere = or_(Job.start >= JobSlot.slot + SLOT_S, JobSlot.slot >= _END, Job.start.is_(None))
    first = select(func.min(JobSlot.slot)).where(
        JobSlot.job_id == Job.id,
        JobSlot.slot > window.low - SLOT_S,
        JobSlot.slot < min(window.high, FOREVER),
        or_(ran_inside, elsewhere),
    )
    slots = first.scalar_subquery().is_not(None)
    return [or_(by_time, and_(slots, of_states(names, lists)) if names else slots)]


_END = func.coalesce(Job.end, FOREVER)
"""Of a run that has not ended: later than everything. Not in a form that an index is taken for; `_narrow` has that."""

_ELIGIBLE = func.coalesce(Job.eligible, case((Job.start.is_not(None), Job.submit)))
"""When a run could start; of one that is held it is not known, and compares as nothing."""


def _eligible_in(window: Window, by_number: bool) -> ColumnElement[bool]:
    """Return the condition of as_mysql_jobacct_process.c without states: eligible before the end, not ended before the
    start. A job that is asked for by its number need not be eligible.
    """
    since = Job.submit if by_number else _ELIGIBLE
    return and_(since < window.high, window.low <= _END)


def _in_states(names: Set[str], window: Window, lists: Lists) -> ColumnElement[bool]:
    """Return the condition with states, for which sacct asks when the job was in that state."""
    choices: list[ColumnElement[bool]] = []
    if "RUNNING" in names:
        # slurmdbd leaves out what was suspended in the window; the accounting knows only of what is suspended now.
        choices.append(and_(Job.start < window.high, window.low < _END, Job.state != "SUSPENDED"))
    if "PENDING" in names:
        choices.append(and_(window.high > _ELIGIBLE, or_(Job.start.is_(None), Job.start > window.low)))
    if others := names - {"RUNNING", "PENDING"}:
        # Here sacct takes in the second at which the window ends, though its windows are said to exclude it.
        ended = or_(Job.end.is_(None), and_(Job.end >= window.low, Job.end <= window.high))
        choices.append(and_(of_states(others, lists), ended))
    return or_(*choices)


def of_states(names: Set[str], lists: Lists) -> ColumnElement[bool]:
    """Return the condition that a job is in any of these states. `CANCELLED by 1000` is CANCELLED."""
    of_any = lists.among(Job.state, names)
    return or_(of_any, Job.state.startswith("CANCELLED ")) if "CANCELLED" in names else of_any


def state_name(text: str) -> str:
    """Return the long name of a state: `cd` is COMPLETED. Raises ValueError."""
    name = STATES.get(text.upper(), text.upper())
    if name not in (*STATES.values(), "COMPLETING", "CONFIGURING"):
        raise ValueError(f"not a job state: {text!r}")
    return name
