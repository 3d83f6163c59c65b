# SPDX-License-Identifier: MIT
"""Answers what a job, a user, a site consumed and emitted: reads the sums, never computes them anew.

Used by the HTTP API and, as a library, by the reports. Who may see what is decided before: `Filters.viewer`.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, cast, exists, false, func, or_, select
from sqlalchemy.orm import Session

from carbon_acct import merge
from carbon_acct.access import Viewer
from carbon_acct.db.models import COMPONENTS, Cluster, Intensity, Job, JobSlot
from carbon_acct.pricing import facility_uj, weighted
from carbon_acct.quality import ComponentState, judge
from carbon_acct.selection import STATES
from carbon_acct.slotsum import add
from carbon_acct.slurm.nodelist import expand
from carbon_acct.window import Window, inside, part
from carbon_collector.units import SLOT_S


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
    sums = _sums(session, [job for job, _ in rows], filters)
    notes = _notes(session, [job.id for job, _ in rows], filters)
    prices = {row.id: row for row in session.scalars(select(Intensity))}
    now = int(time.time())
    return [
        _record(job, cluster, sums.get(job.id, []), notes.get(job.id, []), prices, filters, now)
        for job, cluster in rows
    ]


_KINDS = ("uj", "static_uj", "metered_us", "alloc_us")
_AMOUNTS = (*(f"{c}_{kind}" for c in COMPONENTS for kind in _KINDS), "energy_uj", "estimated_uj", "carbon_ug")
"""Columns of job_slot that add up, and that a border cuts."""

_METHODS = tuple(f"{c}_method" for c in COMPONENTS)


@dataclass(frozen=True)
class _Sum:
    """What a job's slots at one price add up to. `methods`: the greatest of each component's, or None."""

    pue: str
    intensity_id: int
    simulated: bool
    amounts: dict[str, int | None]
    methods: dict[str, str | None]


def _rows(session: Session, filters: Filters) -> list[tuple[Job, str]]:
    query = select(Job, Cluster.name).join(Cluster, Cluster.id == Job.cluster_id)
    query = query.where(*_conditions(filters)).order_by(Cluster.name, Job.job_id_raw, Job.submit)
    found = [(job, cluster) for job, cluster in session.execute(query)]
    if not filters.nodes:
        return found
    wanted = set(expand(filters.nodes))
    return [(job, cluster) for job, cluster in found if not wanted.isdisjoint(_nodes_of(job))]


def _nodes_of(job: Job) -> list[str]:
    try:
        return expand(job.nodelist or "")
    except ValueError:
        return []


def _newest(rows: list[tuple[Job, str]], filters: Filters) -> list[tuple[Job, str]]:
    """Without duplicates the newest run of each JobID, as sacct without -D."""
    if filters.duplicates:
        return rows
    return list({(job.cluster_id, job.job_id_raw): (job, cluster) for job, cluster in rows}.values())


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    conditions = [*_visible(filters.viewer), *_window_conditions(filters)]
    if filters.users or filters.uids:
        conditions.append(or_(Job.user.in_(filters.users), Job.uid.in_(filters.uids)))
    for column, wanted in (
        (Job.account, filters.accounts),
        (Job.partition, filters.partitions),
        (Job.qos, filters.qos),
        (Cluster.name, filters.clusters),
    ):
        if wanted:
            conditions.append(column.in_(wanted))
    if filters.jobs:
        conditions.append(or_(*(_job_condition(text) for text in filters.jobs)))
    return conditions


def _visible(viewer: Viewer | None) -> list[ColumnElement[bool]]:
    if viewer is None or viewer.sees_all:
        return []
    return [or_(Job.uid == viewer.uid, Job.account.in_(viewer.accounts))]


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


def _sums(session: Session, found: Sequence[Job], filters: Filters) -> dict[int, list[_Sum]]:
    """Sums of the jobs' slots by price; with `truncate` of what lies in the window."""
    window = filters.window if filters.truncate else Window()
    sums: dict[int, list[_Sum]] = defaultdict(list)
    key = (JobSlot.job_id, JobSlot.pue, JobSlot.intensity_id)
    query = select(*key, *_columns(func.sum, func.max)).group_by(*key)
    query = query.where(JobSlot.slot >= window.low, JobSlot.slot <= window.high - SLOT_S)
    for ids in merge.chunks([job.id for job in found]):
        for row in session.execute(query.where(JobSlot.job_id.in_(ids))):
            sums[row[0]].append(_sum_of(row))
    for job_id, cut in _cut_slots(session, found, window):
        sums[job_id].append(cut)
    return sums


def _columns(total: Any, greatest: Any) -> list[Any]:
    simulated = func.max(cast(JobSlot.simulated, Integer)) if total is func.sum else JobSlot.simulated
    return [
        simulated,
        *(total(getattr(JobSlot, name)) for name in _AMOUNTS),
        *(greatest(getattr(JobSlot, name)) for name in _METHODS),
    ]


def _sum_of(row: Any, cut: Any = None) -> _Sum:
    """A row of (job, pue, intensity, simulated, amounts, methods); `cut` takes its part of each amount."""
    values = [None if v is None else int(v) for v in row[4 : 4 + len(_AMOUNTS)]]
    if cut is not None:
        values = [None if v is None else cut(v) for v in values]
    return _Sum(
        pue=row[1],
        intensity_id=row[2],
        simulated=bool(row[3]),
        amounts=dict(zip(_AMOUNTS, values, strict=True)),
        methods=dict(zip(_METHODS, row[4 + len(_AMOUNTS) : 4 + len(_AMOUNTS) + len(_METHODS)], strict=True)),
    )


def _cut_slots(session: Session, found: Sequence[Job], window: Window) -> Iterable[tuple[int, _Sum]]:
    """The slots that a border of the window runs through; none where borders are multiples of 15 minutes."""
    borders = {b - b % SLOT_S for b in (window.start, window.end) if b is not None and b % SLOT_S}
    if not borders:
        return
    by_id = {job.id: job for job in found}
    plain = _columns(lambda c: c, lambda c: c)
    query: Select[Any] = select(JobSlot.job_id, JobSlot.pue, JobSlot.intensity_id, *plain, JobSlot.slot)
    for ids in merge.chunks(by_id):
        for row in session.execute(query.where(JobSlot.job_id.in_(ids), JobSlot.slot.in_(borders))):
            job, slot = by_id[row[0]], row[-1]

            def cut(amount: int, job: Job = job, slot: int = slot) -> int:
                return part(amount, slot, window, job.start, job.end)

            yield job.id, _sum_of(row, cut)


def _notes(session: Session, job_ids: Sequence[int], filters: Filters) -> dict[int, list[str]]:
    window = filters.window if filters.truncate else Window()
    notes: dict[int, set[str]] = defaultdict(set)
    query = select(JobSlot.job_id, JobSlot.notes).where(JobSlot.notes.is_not(None)).distinct()
    query = query.where(JobSlot.slot > window.low - SLOT_S, JobSlot.slot < window.high)
    for ids in merge.chunks(job_ids):
        for job_id, text in session.execute(query.where(JobSlot.job_id.in_(ids))):
            notes[job_id] |= set(json.loads(text or "[]"))
    return {job_id: sorted(texts) for job_id, texts in notes.items()}


def _record(
    job: Job,
    cluster: str,
    sums: Sequence[_Sum],
    notes: Sequence[str],
    prices: dict[int, Intensity],
    filters: Filters,
    now: int,
) -> JobRecord:
    total = {name: add(s.amounts[name] for s in sums) for name in _AMOUNTS}
    verdict = judge(_states(sums, total), *_unmetered(job, filters, now))
    used = [(s.amounts["energy_uj"] or 0) + (s.amounts["estimated_uj"] or 0) for s in sums]
    known = total["energy_uj"] is not None or total["estimated_uj"] is not None
    pairs = list(zip(used, sums, strict=True)) if known else []
    reasons = [note for note in verdict.notes if not _told(note, notes)]
    return JobRecord(
        **{name: getattr(job, name) for name in _PLAIN},
        cluster=cluster,
        elapsed_s=inside(job.start, job.end, now, filters.window) if filters.truncate else job.elapsed_s,
        energy_uj=total["energy_uj"],
        cpu_uj=total["cpu_uj"],
        dram_uj=total["dram_uj"],
        gpu_uj=total["gpu_uj"],
        other_uj=total["other_uj"],
        static_uj=add(total[f"{c}_static_uj"] for c in COMPONENTS),
        estimated_uj=total["estimated_uj"],
        facility_uj=facility_uj((e, s.pue) for e, s in pairs) if known else None,
        pue=weighted((e, s.pue) for e, s in pairs),
        carbon_ug=total["carbon_ug"],
        carbon_market_ug=None,
        embodied_ug=None,
        intensity_g_per_kwh=weighted((e, prices[s.intensity_id].g_per_kwh) for e, s in pairs),
        intensity_source=_joined(prices[s.intensity_id].source for _, s in pairs),
        zone=_joined(prices[s.intensity_id].zone for _, s in pairs),
        coverage=verdict.coverage,
        quality=verdict.quality,
        notes=() if verdict.quality == "measured" else (*reasons, *notes),
        simulated=any(s.simulated for s in sums),
    )


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


def _unmetered(job: Job, filters: Filters, now: int) -> tuple[int, int]:
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
