# SPDX-License-Identifier: MIT
"""Reads the sums of jobs, or the part of them that lies in a window: its whole days, and slots of the days that it
cuts.

Answers have a line for each job, so a row stays a plain tuple from the database to the answer. Most jobs have one day,
and its row is all there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import BindParameter, String, bindparam, cast, func, null, select
from sqlalchemy.orm import Session

from carbon_acct.days import Days
from carbon_acct.db import meta
from carbon_acct.db.models import JobDay, JobSlot, SlotFactor
from carbon_acct.db.rows import IDS, ask_ids
from carbon_acct.known import sum_known
from carbon_acct.sums.job_day import METHODS, SUMMED, WEIGHTS
from carbon_acct.window import FOREVER, Span, Window, part
from carbon_collector.units import SLOT_S


class HasTimes(Protocol):
    """A run with the times that Slurm has of it, in epoch seconds."""

    start: int | None
    end: int | None


class JobSums(NamedTuple):
    """The sums of a job as in the table job_day, and the greatest of its methods. `at` is the first second of the
    (first) day or slot.
    """

    job_id: int
    at: int
    energy_uj: int | None
    cpu_uj: int | None
    dram_uj: int | None
    gpu_uj: int | None
    other_uj: int | None
    cpu_static_uj: int | None
    dram_static_uj: int | None
    gpu_static_uj: int | None
    other_static_uj: int | None
    cpu_metered_us: int | None
    dram_metered_us: int | None
    gpu_metered_us: int | None
    other_metered_us: int | None
    cpu_alloc_us: int | None
    dram_alloc_us: int | None
    gpu_alloc_us: int | None
    other_alloc_us: int | None
    estimated_uj: int | None
    facility_uj: int | None
    carbon_ug: int | None
    market_ug: int | None
    embodied_ug: int | None
    upstream_ug: int | None
    td_ug: int | None
    cpu_us: int | None
    core_us: int | None
    gpu_us: int | None
    gpu_idle_uj: int | None
    cpu_unused_uj: int | None
    cpu_method: str | None
    dram_method: str | None
    gpu_method: str | None
    other_method: str | None
    simulated: bool
    sources: str
    """The ids of factor sources, separated by commas."""
    g_per_kwh_weight: float
    pue_weight: float
    notes: str | None
    """JSON list."""


_NONE: dict[str, Any] = dict.fromkeys(JobSums._fields)
_NONE |= {"job_id": 0, "at": 0, "simulated": False, "sources": "", "g_per_kwh_weight": 0.0, "pue_weight": 0.0}
NO_SUMS = JobSums(**_NONE)
"""The sums of a job of which no node delivered anything."""

_ADDED = tuple(name for name in JobSums._fields if name in SUMMED)


def read(session: Session, jobs: Mapping[int, HasTimes], window: Window, days: Days) -> Iterator[tuple[int, JobSums]]:
    """Yield the parts of these jobs' sums in the window, with the jobs' ids, in any order of jobs.

    Only whole days have notes. The notes of a day that is cut are for the whole day (`notes_of_cut_days`).
    """
    first, last = _whole_days(window, days)
    cut = _cut_days(window, days, first, last)
    for sums in map(JobSums._make, ask_ids(session, _DAYS, jobs, first=first, last=last)):
        yield sums.job_id, sums
    slots_from = meta.slots_from(session) if cut else 0
    for day in cut:
        pieces = _folded if day < slots_from else _slots
        yield from pieces(session, Span(day, days.after(day)), window, jobs)


def _folded(session: Session, day: Span, window: Window, jobs: Mapping[int, HasTimes]) -> Iterator[tuple[int, JobSums]]:
    """Yield the parts of one day that lie in the window. Its slots are gone."""
    for sums in map(JobSums._make, ask_ids(session, _DAYS, jobs, first=day.start, last=day.end)):
        yield sums.job_id, _cut(sums, day, window, jobs[sums.job_id])._replace(notes=None)


def _slots(session: Session, day: Span, window: Window, jobs: Mapping[int, HasTimes]) -> Iterator[tuple[int, JobSums]]:
    """Yield the slots of one day, or their parts that lie in the window."""
    low, high = max(day.start, window.low - SLOT_S + 1), min(day.end, window.high)
    for sums in map(JobSums._make, ask_ids(session, _SLOTS, jobs, first=low, last=high)):
        yield sums.job_id, _cut(sums, Span(sums.at, sums.at + SLOT_S), window, jobs[sums.job_id])


def slots(session: Session, jobs: Collection[int], first: int) -> Iterator[JobSums]:
    """Yield the whole slots of these jobs from `first` on, in any order."""
    yield from map(JobSums._make, ask_ids(session, _SLOTS, jobs, first=first, last=FOREVER))


def notes_of_cut_days(session: Session, job_ids: Collection[int], window: Window, days: Days) -> dict[int, list[str]]:
    """Return the notes, as JSON, of the days that a border of the window cuts."""
    low = days.start(window.low)
    cut = [day for day in _cut_days(window, days, *_whole_days(window, days)) if low <= day < window.high]
    found: dict[int, list[str]] = defaultdict(list)
    for day in cut:
        for job_id, text in ask_ids(session, _NOTES, job_ids, day=day):
            found[job_id].append(text)
    return found


def total(parts: Sequence[JobSums]) -> JobSums:
    """Return the sum of the parts of a job's sums, without `notes`. A sum is None only if no part is known."""
    if not parts:
        return NO_SUMS
    columns: dict[str, Any] = dict(zip(JobSums._fields, zip(*parts, strict=True), strict=True))
    sums: dict[str, Any] = {name: sum_known(columns[name]) for name in _ADDED}
    sums |= {name: max((method for method in columns[name] if method), default=None) for name in METHODS}
    sums |= {name: sum(columns[name]) for name in WEIGHTS}
    sources = {source for text in columns["sources"] for source in text.split(",")}
    return parts[0]._replace(**sums, simulated=any(columns["simulated"]), sources=",".join(sorted(sources)), notes=None)


def _whole_days(window: Window, days: Days) -> tuple[int, int]:
    """Return [first, last): the days that lie in the window as a whole. Without a window these are all."""
    first = 0 if window.start is None else days.start(window.start)
    if window.start is not None and first < window.start:
        first = days.after(first)
    last = FOREVER if window.end is None else days.start(window.end)
    return first, max(first, last)


def _cut_days(window: Window, days: Days, first: int, last: int) -> list[int]:
    """Return the days that a border of the window cuts."""
    borders = [] if window.start is None else [days.start(window.start)]
    borders += [] if window.end is None else [days.start(max(window.end - 1, 0))]
    return sorted({day for day in borders if not first <= day < last})


def _cut(whole: JobSums, span: Span, window: Window, job: HasTimes) -> JobSums:
    """Return the part of a slot's, or a folded day's, amounts that lies in the window."""
    if window.low <= span.start and span.end <= window.high:
        return whole
    values: dict[str, Any] = whole._asdict()
    cut: dict[str, Any] = {
        name: None if values[name] is None else part(values[name], span, window, job.start, job.end) for name in _ADDED
    }
    used = (whole.energy_uj or 0) + (whole.estimated_uj or 0)
    left = (cut["energy_uj"] or 0) + (cut["estimated_uj"] or 0)
    cut |= {name: values[name] * left / used if used else 0.0 for name in WEIGHTS}
    return whole._replace(**cut)


_FIRST: BindParameter[int] = bindparam("first")
_LAST: BindParameter[int] = bindparam("last")
_DAYS = select(*(getattr(JobDay, name if name != "at" else "day") for name in JobSums._fields)).where(
    JobDay.job_id.in_(IDS), JobDay.day >= _FIRST, JobDay.day < _LAST
)
_NOTES = select(JobDay.job_id, JobDay.notes).where(
    JobDay.job_id.in_(IDS), JobDay.day == bindparam("day"), JobDay.notes.is_not(None)
)
_USED = func.coalesce(JobSlot.energy_uj, 0) + func.coalesce(JobSlot.estimated_uj, 0)
_OF_SLOTS: dict[str, Any] = {
    "at": JobSlot.slot,
    "sources": cast(SlotFactor.source_id, String),
    "g_per_kwh_weight": _USED * SlotFactor.g_per_kwh_float,
    "pue_weight": _USED * SlotFactor.pue_float,
    "notes": null(),
}
_SLOTS = (
    select(*(_OF_SLOTS[name] if name in _OF_SLOTS else getattr(JobSlot, name) for name in JobSums._fields))
    .join(SlotFactor, SlotFactor.id == JobSlot.factor_id)
    .where(JobSlot.job_id.in_(IDS), JobSlot.slot >= _FIRST, JobSlot.slot < _LAST)
)
