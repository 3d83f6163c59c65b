# SPDX-License-Identifier: MIT
"""Answers what a job, a user, a site consumed and emitted: reads the sums, never computes them anew.

Used by the HTTP API and, as a library, by the reports. Who may see what is decided before: `Filters.viewer`.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, Subquery, and_, exists, false, func, or_, select, union_all
from sqlalchemy.orm import Session

from carbon_acct import merge, meta
from carbon_acct.access import Viewer
from carbon_acct.dayrow import METHODS, SUMMED, WEIGHTS
from carbon_acct.days import Days, zone_info
from carbon_acct.db.models import COMPONENTS, Association, Cluster, FactorSource, Job, JobDay, JobSlot, SlotPrice
from carbon_acct.db.rows import ask, table_of
from carbon_acct.matching import RESIZED
from carbon_acct.quality import ComponentState, judge
from carbon_acct.selection import STATES
from carbon_acct.slotsum import add
from carbon_acct.slurm.nodelist import expand
from carbon_acct.window import FOREVER, Span, Window, inside, part
from carbon_collector.units import SLOT_S

SKEW_S = 86_400
"""A node's slots of a job are not that much later than Slurm's end of it, however wrong the node's clock is."""


@dataclass(frozen=True)
class Filters:
    """What is asked for; an empty sequence does not filter. `viewer` None: everything (the reports, the tests)."""

    viewer: Viewer | None = None
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


@dataclass(frozen=True)
class JobRecord:
    """A run of a job with its energy and carbon: the keys and units of docs/http-api.md. None: not known."""

    job_id: str
    job_id_raw: int
    name: str
    user: str | None
    uid: int | None
    account: str | None
    partition: str | None
    qos: str | None
    cluster: str
    state: str
    exit_code: str | None
    restarts: int | None
    submit: int
    start: int | None
    end: int | None
    elapsed_s: int | None
    nnodes: int | None
    ncpus: int | None
    alloc_tres: str | None
    nodelist: str | None
    energy_uj: int | None
    cpu_uj: int | None
    dram_uj: int | None
    gpu_uj: int | None
    other_uj: int | None
    static_uj: int | None
    estimated_uj: int | None
    facility_uj: int | None
    pue: float | None
    carbon_ug: int | None
    carbon_market_ug: int | None
    embodied_ug: int | None
    upstream_ug: int | None
    td_ug: int | None
    intensity_g_per_kwh: float | None
    intensity_source: str | None
    zone: str | None
    coverage: float | None
    quality: str
    notes: tuple[str, ...]
    simulated: bool


def jobs(session: Session, filters: Filters) -> list[JobRecord]:
    """Runs of jobs with their energy, sorted by cluster, JobIDRaw, submit time. Raises ValueError on a bad filter."""
    rows = _newest(_rows(session, filters), filters)
    days = Days(zone_info(meta.get(session, meta.TIMEZONE) or "UTC"))
    sums = _sums(session, rows, filters, days)
    notes = _notes(session, [job.id for job in rows], filters, days)
    sources = {row.id: row for row in session.scalars(select(FactorSource))}
    now = int(time.time())
    return [_record(job, sums.get(job.id, []), notes.get(job.id, []), sources, filters, now) for job in rows]


@dataclass(frozen=True)
class _Sum:
    """What some of a job's slots or days add up to. `methods`: the greatest of each component's, or None."""

    simulated: bool
    amounts: dict[str, int | None]
    methods: dict[str, str | None]
    weights: dict[str, float]
    sources: frozenset[int]


def _rows(session: Session, filters: Filters) -> list[Any]:
    """Rows of `job`, with the name of the cluster."""
    query = select(*table_of(Job).columns, Cluster.name.label("cluster")).join(Cluster, Cluster.id == Job.cluster_id)
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
        return found
    wanted = set(expand(filters.nodes))
    return [job for job in found if not wanted.isdisjoint(_nodes_of(job))]


def _nodes_of(job: Any) -> list[str]:
    try:
        return expand(job.nodelist or "")
    except ValueError:
        return []


def _newest(rows: list[Any], filters: Filters) -> list[Any]:
    """Without duplicates the newest run of each JobID, and what it was before it was resized, as sacct without -D."""
    if filters.duplicates:
        return rows
    newest = {(job.cluster_id, job.job_id_raw): job.id for job in rows}
    return [job for job in rows if job.state == RESIZED or newest[job.cluster_id, job.job_id_raw] == job.id]


def _narrow(filters: Filters) -> Subquery | None:
    """The jobs among which those that are asked for are, in a form that each database has an index for.

    No database has one for `end >= x OR end IS NULL`, which is therefore asked in two halves; and whoever is asked
    for by whatever of Slurm's association is found by that. JobIDs have indexes of their own.
    """
    if filters.jobs:
        return None
    associations = [*_visible(filters.viewer, Association), *_who(filters, Association)]
    by_who = [Job.association_id.in_(select(Association.id).where(*associations))] if associations else []
    low = filters.window.low - (SKEW_S if filters.truncate else 0)
    if low <= 0 or "PENDING" in map(_state_name, filters.states):  # jobs that never started may have ended long before
        return select(Job.id).where(*by_who).subquery() if by_who else None
    open_jobs, ended = (select(Job.id).where(*by_who, half) for half in (Job.end.is_(None), Job.end >= low))
    return union_all(open_jobs, ended).subquery()


def _who(filters: Filters, of: type[Job] | type[Association]) -> list[ColumnElement[bool]]:
    """What is asked of the columns that a job has in common with its association."""
    conditions: list[ColumnElement[bool]] = []
    if filters.users or filters.uids:
        conditions.append(or_(of.user.in_(filters.users), of.uid.in_(filters.uids)))
    for column, wanted in ((of.account, filters.accounts), (of.partition, filters.partitions), (of.qos, filters.qos)):
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


def _visible(viewer: Viewer | None, of: type[Job] | type[Association]) -> list[ColumnElement[bool]]:
    if viewer is None or viewer.sees_all:
        return []
    own = [of.user == viewer.user] if viewer.user else []
    return [or_(*own, of.account.in_(viewer.accounts))]


def _job_condition(text: str) -> ColumnElement[bool]:
    """`12` is that job, and every task or component of it; `12_3` and `12+1` are one each."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return or_(Job.job_id_raw == int(text), Job.leader_id == int(text))
    head = text.replace("+", "_").partition("_")[0]
    if not head.isascii() or not head.isdigit() or len(head) >= 19:
        raise ValueError(f"not a JobID: {text!r}; it looks like 12, 12_3 or 12+1")
    return and_(Job.leader_id == int(head), Job.job_id == text)


def _window_conditions(filters: Filters) -> list[ColumnElement[bool]]:
    """Jobs that overlap the window as in sacct; with `truncate` also any that has a slot in it."""
    window = filters.window
    by_time = _in_states(filters.states, window) if filters.states else _eligible_in(window)
    if not filters.truncate or (window.start is None and window.end is None):
        return [by_time]
    slots = exists().where(
        JobSlot.job_id == Job.id, JobSlot.slot > window.low - SLOT_S, JobSlot.slot < min(window.high, 2**62)
    )
    states = or_(*(_state(name) for name in filters.states)) if filters.states else None
    return [or_(by_time, slots if states is None else and_(slots, states))]


def _eligible_in(window: Window) -> ColumnElement[bool]:
    """as_mysql_jobacct_process.c without states: eligible before the end, not ended before the start."""
    return and_(
        func.coalesce(Job.eligible, Job.submit) < window.high,
        or_(Job.end.is_(None), Job.end >= window.low),
    )


def _in_states(states: Iterable[str], window: Window) -> ColumnElement[bool]:
    """With states sacct asks when the job was in that state."""
    choices: list[ColumnElement[bool]] = [false()]
    for text in states:
        name = _state_name(text)
        if name == "RUNNING":
            choices.append(and_(Job.start < window.high, or_(Job.end.is_(None), Job.end > window.low)))
        elif name == "PENDING":
            eligible = func.coalesce(Job.eligible, Job.submit)
            choices.append(and_(eligible < window.high, or_(Job.start.is_(None), Job.start > window.low)))
        else:
            ended = or_(Job.end.is_(None), and_(Job.end >= window.low, Job.end < window.high))
            choices.append(and_(_state(text), ended))
    return or_(*choices)


def _state(text: str) -> ColumnElement[bool]:
    """`CANCELLED by 1000` is CANCELLED."""
    return Job.state.startswith(_state_name(text), autoescape=True)


def _state_name(text: str) -> str:
    name = STATES.get(text.upper(), text.upper())
    if name not in (*STATES.values(), "COMPLETING", "CONFIGURING"):
        raise ValueError(f"not a job state: {text!r}")
    return name


def _sums(session: Session, found: Sequence[Any], filters: Filters, days: Days) -> dict[int, list[_Sum]]:
    """Sums of the jobs; with `truncate` of what lies in the window: its whole days, and slots of those it cuts."""
    sums: dict[int, list[_Sum]] = defaultdict(list)
    window = filters.window if filters.truncate else Window()
    first, last = _whole_days(window, days)
    cut = _cut_days(window, days, first, last)
    folded = [day for day in cut if day < meta.slots_from(session)] if cut else []
    by_id = {job.id: job for job in found}
    for ids in merge.chunks(by_id):
        for row in session.execute(_day_query(ids, (JobDay.day >= first, JobDay.day < last))).mappings():
            sums[row["job_id"]].append(_sum_of(row, _sources(row["sources"])))
        if folded:
            for row in session.execute(_day_query(ids, (JobDay.day.in_(folded),))).mappings():
                span = Span(row["day"], days.after(row["day"]))
                sums[row["job_id"]].append(_cut(row, span, window, by_id[row["job_id"]], _sources(row["sources"])))
        for day in cut:
            if day not in folded:
                for job_id, piece in _slots(session, ids, (day, days.after(day)), window, by_id):
                    sums[job_id].append(piece)
    return sums


def _whole_days(window: Window, days: Days) -> tuple[int, int]:
    """[first, last): the days that lie in the window as a whole; without a window all of them."""
    first = 0 if window.start is None else days.start(window.start)
    if window.start is not None and first < window.start:
        first = days.after(first)
    last = FOREVER if window.end is None else days.start(window.end)
    return first, max(first, last)


def _cut_days(window: Window, days: Days, first: int, last: int) -> list[int]:
    """The days that a border of the window runs through."""
    borders = [] if window.start is None else [days.start(window.start)]
    borders += [] if window.end is None else [days.start(max(window.end - 1, 0))]
    return sorted({day for day in borders if not first <= day < last})


_COLUMNS = (*SUMMED, *METHODS, "simulated")


def _day_query(ids: Sequence[int], conditions: tuple[ColumnElement[bool], ...]) -> Select[Any]:
    names = ("job_id", "day", "sources", *WEIGHTS, *_COLUMNS)
    return select(*(getattr(JobDay, name) for name in names)).where(JobDay.job_id.in_(ids), *conditions)


def _slots(
    session: Session, ids: Sequence[int], day: tuple[int, int], window: Window, by_id: Mapping[int, Any]
) -> Iterable[tuple[int, _Sum]]:
    """Slots of one day, or what of them lies in the window."""
    used = func.coalesce(JobSlot.energy_uj, 0) + func.coalesce(JobSlot.estimated_uj, 0)
    query = (
        select(
            *(getattr(JobSlot, name) for name in ("job_id", "slot", *_COLUMNS)),
            SlotPrice.source_id,
            (used * SlotPrice.g_per_kwh_float).label("g_per_kwh_weight"),
            (used * SlotPrice.pue_float).label("pue_weight"),
        )
        .join(SlotPrice, SlotPrice.id == JobSlot.price_id)
        .where(JobSlot.job_id.in_(ids), JobSlot.slot >= day[0], JobSlot.slot < day[1])
        .where(JobSlot.slot > window.low - SLOT_S, JobSlot.slot < window.high)
    )
    for row in session.execute(query).mappings():
        span = Span(row["slot"], row["slot"] + SLOT_S)
        yield row["job_id"], _cut(row, span, window, by_id[row["job_id"]], frozenset({row["source_id"]}))


def _sum_of(row: RowMapping, sources: frozenset[int]) -> _Sum:
    return _Sum(
        simulated=bool(row["simulated"]),
        amounts={name: row[name] for name in SUMMED},
        methods={name: row[name] for name in METHODS},
        weights={name: row[name] for name in WEIGHTS},
        sources=sources,
    )


def _cut(row: RowMapping, span: Span, window: Window, job: Any, sources: frozenset[int]) -> _Sum:
    """What of a slot's, or a folded day's, amounts lies in the window."""
    whole = _sum_of(row, sources)
    if window.low <= span.start and span.end <= window.high:
        return whole
    amounts = {
        name: None if amount is None else part(amount, span, window, job.start, job.end)
        for name, amount in whole.amounts.items()
    }
    used = (whole.amounts["energy_uj"] or 0) + (whole.amounts["estimated_uj"] or 0)
    left = (amounts["energy_uj"] or 0) + (amounts["estimated_uj"] or 0)
    weights = {name: weight * left / used if used else 0.0 for name, weight in whole.weights.items()}
    return replace(whole, amounts=amounts, weights=weights)


def _sources(text: str) -> frozenset[int]:
    return frozenset(int(word) for word in text.split(","))


def _notes(session: Session, job_ids: Sequence[int], filters: Filters, days: Days) -> dict[int, list[str]]:
    """Reasons of the days that the window touches."""
    window = filters.window if filters.truncate else Window()
    first = 0 if window.start is None else days.start(window.start)
    notes: dict[int, set[str]] = defaultdict(set)
    query = select(JobDay.job_id, JobDay.notes).where(JobDay.notes.is_not(None)).distinct()
    query = query.where(JobDay.day >= first, JobDay.day < window.high)
    for ids in merge.chunks(job_ids):
        for job_id, text in session.execute(query.where(JobDay.job_id.in_(ids))):
            notes[job_id] |= set(json.loads(text or "[]"))
    return {job_id: sorted(texts) for job_id, texts in notes.items()}


def _record(
    job: Any,
    sums: Sequence[_Sum],
    notes: Sequence[str],
    sources: Mapping[int, FactorSource],
    filters: Filters,
    now: int,
) -> JobRecord:
    total = sums[0].amounts if len(sums) == 1 else {name: add(s.amounts[name] for s in sums) for name in SUMMED}
    verdict = judge(_states(sums, total), *_unmetered(job, filters, now))
    used = add((total["energy_uj"], total["estimated_uj"]))
    priced = sorted({source for s in sums for source in s.sources}) if used is not None else []
    reasons = [note for note in verdict.notes if not _told(note, notes)]
    return JobRecord(
        **{name: getattr(job, name) for name in _PLAIN},
        cluster=job.cluster,
        elapsed_s=inside(job.start, job.end, now, filters.window) if filters.truncate else job.elapsed_s,
        energy_uj=total["energy_uj"],
        cpu_uj=total["cpu_uj"],
        dram_uj=total["dram_uj"],
        gpu_uj=total["gpu_uj"],
        other_uj=total["other_uj"],
        static_uj=add(total[f"{c}_static_uj"] for c in COMPONENTS),
        estimated_uj=total["estimated_uj"],
        facility_uj=total["facility_uj"],
        pue=_mean(sums, "pue_weight", used),
        carbon_ug=total["carbon_ug"],
        carbon_market_ug=total["market_ug"],
        embodied_ug=total["embodied_ug"],
        upstream_ug=total["upstream_ug"],
        td_ug=total["td_ug"],
        intensity_g_per_kwh=_mean(sums, "g_per_kwh_weight", used),
        intensity_source=_joined(sources[key].text for key in priced),
        zone=_joined(sources[key].zone for key in priced),
        coverage=verdict.coverage,
        quality=verdict.quality,
        notes=_shown_notes(job, verdict.quality, (*reasons, *notes)),
        simulated=any(s.simulated for s in sums),
    )


def _shown_notes(job: Any, quality: str, notes: tuple[str, ...]) -> tuple[str, ...]:
    if job.state == RESIZED:
        return ("resized: the run's energy is with its newest record",)
    return () if quality == "measured" else notes


def _mean(sums: Sequence[_Sum], weight: str, used: int | None) -> float | None:
    """Weighted by energy. Doubles hold what is shown of it; the grams are exact by another road."""
    return round(sum(s.weights[weight] for s in sums) / used, 9) if used else None


_PLAIN = (
    *("job_id", "job_id_raw", "name", "user", "uid", "account", "partition", "qos", "state", "exit_code", "restarts"),
    *("submit", "start", "end", "nnodes", "ncpus", "alloc_tres", "nodelist"),
)


def _states(sums: Sequence[_Sum], total: dict[str, int | None]) -> dict[str, ComponentState]:
    states = {}
    for c in COMPONENTS:
        methods = {s.methods[f"{c}_method"] for s in sums} - {None}
        if methods:
            states[c] = ComponentState(
                energy_uj=total[f"{c}_uj"],
                metered_us=total[f"{c}_metered_us"] or 0,
                alloc_us=total[f"{c}_alloc_us"] or 0,
                modelled="modelled" in methods,  # the greatest of the methods in every order of letters
            )
    return states


def _unmetered(job: Any, filters: Filters, now: int) -> tuple[int, int]:
    """Node-time without rows, and how many nodes have none; in the window its share by time."""
    if not filters.truncate or not job.unmetered_us:
        return job.unmetered_us, job.unmetered_nodes
    whole = inside(job.start, job.end, now, Window())
    return job.unmetered_us * inside(job.start, job.end, now, filters.window) // max(whole, 1), job.unmetered_nodes


def _told(note: str, notes: Sequence[str]) -> bool:
    """A plain `dram: not metered` says nothing beside `dram: energy_uj: permission denied`."""
    component, _, rest = note.partition(": ")
    return rest == "not metered" and any(n.startswith(f"{component}: ") for n in notes)


def _joined(texts: Iterable[str]) -> str | None:
    return "; ".join(sorted(set(texts))) or None
