# SPDX-License-Identifier: MIT
"""Answers what a job, a user, a site consumed and emitted: reads the sums, never computes them anew.

Used by the HTTP API and, as a library, by the reports. Who may see what is decided before: `Filters.viewer`.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    func,
    select,
)
from sqlalchemy.orm import Session

from carbon_acct import merge, meta
from carbon_acct.dayrow import METHODS, SUMMED, WEIGHTS
from carbon_acct.days import Days, zone_info
from carbon_acct.db.models import COMPONENTS, FactorSource, JobDay, JobSlot, SlotPrice
from carbon_acct.finding import Filters, find
from carbon_acct.matching import RESIZED
from carbon_acct.quality import ComponentState, judge
from carbon_acct.slotsum import add
from carbon_acct.window import FOREVER, Span, Window, inside, part
from carbon_collector.units import SLOT_S


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
    rows = find(session, filters)
    days = Days(zone_info(meta.get(session, meta.TIMEZONE) or "UTC"))
    sums = _sums(session, rows, filters, days)
    notes = _notes(session, [job.id for job in rows], filters, days)
    sources = {row.id: row for row in session.scalars(select(FactorSource))}
    now = int(time.time())
    return [_record(job, sums.get(job.id, []), notes.get(job.id, []), sources, filters, now) for job in rows]


@dataclass(frozen=True)
class _Sum:
    """What some of a job's slots or days add up to, by the names of the columns; of methods the greatest, or None."""

    simulated: bool
    amounts: Mapping[str, int | None]
    methods: Mapping[str, str | None]
    weights: Mapping[str, float]
    sources: frozenset[int]


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
    values: dict[str, Any] = dict(row)  # one copy for all three: there is one for each day of each job
    return _Sum(bool(values["simulated"]), values, values, values, sources)


def _cut(row: RowMapping, span: Span, window: Window, job: Any, sources: frozenset[int]) -> _Sum:
    """What of a slot's, or a folded day's, amounts lies in the window."""
    whole = _sum_of(row, sources)
    if window.low <= span.start and span.end <= window.high:
        return whole
    amounts = {
        name: None if amount is None else part(amount, span, window, job.start, job.end)
        for name, amount in ((name, whole.amounts[name]) for name in SUMMED)
    }
    used = (whole.amounts["energy_uj"] or 0) + (whole.amounts["estimated_uj"] or 0)
    left = (amounts["energy_uj"] or 0) + (amounts["estimated_uj"] or 0)
    weights = {name: whole.weights[name] * left / used if used else 0.0 for name in WEIGHTS}
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


def _states(sums: Sequence[_Sum], total: Mapping[str, int | None]) -> dict[str, ComponentState]:
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
