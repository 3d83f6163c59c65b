# SPDX-License-Identifier: MIT
"""Keeps the days of the jobs and the roll-ups by association, in the transaction that changed a slot.

A job's day is computed again from its slots; what the roll-up of its association is changed by is the
difference to what that day was before. All of it is integers, so the roll-ups stay exact however often
and in whatever order rows come.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import BindParameter, Integer, bindparam, cast, delete, func, select
from sqlalchemy.orm import Session

from carbon_acct.dayrow import METHODS, SUMMED, WEIGHTS, Row, followed
from carbon_acct.db.models import COMPONENTS, Association, DaySum, JobDay, JobSlot, SlotPrice
from carbon_acct.db.rows import ask, replace_rows, table_of
from carbon_acct.db.upsert import add_to
from carbon_acct.pricing import Price

ROLLED = ("cpu_us", *(f"{c}_uj" for c in COMPONENTS), *SUMMED[-8:])
"""Those that the roll-ups hold, each with the number of jobs that have a figure."""

JobDayKey = tuple[int, int]
Slots = list[tuple[Row | None, Row | None]]
"""Rows of a job's slots as they were and as they are; None: there was or is none."""


def association(session: Session, known: dict[str, int], **who: Any) -> int:
    """The id of an association, which is made if it is new. `known`: those that were asked for before."""
    key = hashlib.sha256(json.dumps(who, sort_keys=True).encode()).hexdigest()
    if key not in known:
        row = session.scalar(select(Association).where(Association.key == key))
        if row is None:
            row = Association(key=key, **who)
            session.add(row)
            session.flush()
        known[key] = row.id
    return known[key]


def refresh(session: Session, days: Collection[tuple[int, int, int]], associations: Mapping[int, int]) -> None:
    """Compute days of jobs, (job, first second, first second after), again, and what follows for the roll-ups."""
    by_day: dict[tuple[int, int], list[int]] = defaultdict(list)
    for job, start, end in days:
        by_day[start, end].append(job)
    changes: list[dict[str, Any]] = []
    for (start, end), jobs in sorted(by_day.items()):
        before = _stored(session, jobs, start)
        changes += _replace(session, start, before, _computed(session, jobs, start, end), associations)
    _add(session, changes)


def follow(
    session: Session, days: Mapping[tuple[int, int], Mapping[int, Slots]], associations: Mapping[int, int]
) -> None:
    """Days, (first second, first second after), in which slots of jobs have changed; only where it must be, all are read."""
    changes: list[dict[str, Any]] = []
    for (start, end), jobs in sorted(days.items()):
        before = _stored(session, jobs, start)
        after: dict[JobDayKey, dict[str, Any]] = {}
        again = []
        for job, slots in jobs.items():
            kept = [(was, now) for was, now in slots if now is not None]
            row = followed(before.get((job, start)), kept) if len(kept) == len(slots) else None
            if row is None:
                again.append(job)
            else:
                after[job, start] = {**row, "job_id": job, "day": start}
        after |= _computed(session, again, start, end) if again else {}
        changes += _replace(session, start, before, after, associations)
    _add(session, changes)


def _replace(
    session: Session,
    day: int,
    before: Mapping[JobDayKey, dict[str, Any]],
    after: Mapping[JobDayKey, dict[str, Any]],
    associations: Mapping[int, int],
) -> Iterable[dict[str, Any]]:
    """Store the days; what changes for the roll-ups."""
    different = [row for key, row in after.items() if before.get(key) != row]
    replace_rows(session, table_of(JobDay), different, before.keys() - after.keys())
    return _changes(day, before, after, associations)


def moved(session: Session, job: int, before: int | None, after: int) -> None:
    """A job has come into another association, with all its days."""
    rows = _rows(session, _DAYS.where(JobDay.job_id == bindparam("job")), {"job": job})
    away = [_change(row["day"], before, row, None) for row in rows.values() if before is not None]
    _add(session, [*away, *(_change(row["day"], after, None, row) for row in rows.values())])


def _add(session: Session, changes: Iterable[dict[str, Any]]) -> None:
    joined = _joined(changes)
    add_to(session, table_of(DaySum), joined)
    days = {row["day"] for row in joined if row["jobs"] < 0}
    if days:
        session.execute(delete(DaySum).where(DaySum.day.in_(days), DaySum.jobs == 0))


def _stored(session: Session, jobs: Iterable[int], day: int) -> dict[JobDayKey, dict[str, Any]]:
    return _rows(session, _STORED, {"ids": list(jobs), "start": day})


def _rows(session: Session, query: Any, asked: Mapping[str, Any]) -> dict[JobDayKey, dict[str, Any]]:
    return {(row.job_id, row.day): dict(row._mapping) for row in ask(session, query, asked)}


def _computed(session: Session, jobs: Collection[int], start: int, end: int) -> dict[JobDayKey, dict[str, Any]]:
    asked = {"ids": list(jobs), "start": start, "end": end}
    rows = ask(session, _COMPUTED, asked)
    return {(row.job_id, start): _day(session, dict(row._mapping), start, end) for row in rows}


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_DAYS = select(*table_of(JobDay).columns)
_STORED = _DAYS.where(JobDay.job_id.in_(_IDS), JobDay.day == bindparam("start"))
_USED = func.coalesce(JobSlot.energy_uj, 0) + func.coalesce(JobSlot.estimated_uj, 0)
SLOT_WEIGHTS = (
    (_USED * SlotPrice.g_per_kwh_float).label("g_per_kwh_weight"),
    (_USED * SlotPrice.pue_float).label("pue_weight"),
)
"""What a slot weighs in the shown means of its day."""


def weighed(slot: dict[str, Any], price: Price) -> dict[str, Any]:
    """The row of a slot with its price's source, and SLOT_WEIGHTS."""
    used = (slot["energy_uj"] or 0) + (slot["estimated_uj"] or 0)
    weights = {"g_per_kwh_weight": used * price.g_per_kwh_float, "pue_weight": used * price.pue_float}
    return {**slot, **weights, "source_id": price.source_id}


_COMPUTED = (
    select(
        JobSlot.job_id,
        *(func.sum(getattr(JobSlot, name)).label(name) for name in SUMMED),
        *(func.max(getattr(JobSlot, name)).label(name) for name in METHODS),
        func.max(cast(JobSlot.simulated, Integer)).label("simulated"),
        func.min(JobSlot.notes).label("notes"),
        func.max(JobSlot.notes).label("last_notes"),
        func.min(SlotPrice.source_id).label("source"),
        func.max(SlotPrice.source_id).label("last_source"),
        *(func.sum(weight).label(weight.name) for weight in SLOT_WEIGHTS),
    )
    .join(SlotPrice, SlotPrice.id == JobSlot.price_id)
    .where(JobSlot.job_id.in_(_IDS), JobSlot.slot >= bindparam("start"), JobSlot.slot < bindparam("end"))
    .group_by(JobSlot.job_id)
)


def _day(session: Session, row: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    """A row of job_day from one of the query; only where slots differ are they asked for one by one."""
    for name in SUMMED:
        row[name] = None if row[name] is None else int(row[name])
    for name in WEIGHTS:
        row[name] = float(row[name])
    row |= {"day": start, "simulated": bool(row["simulated"])}
    last_notes, source, last_source = row.pop("last_notes"), row.pop("source"), row.pop("last_source")
    row["sources"] = str(source)
    if row["notes"] != last_notes or source != last_source:
        row |= _distinct(session, row["job_id"], start, end)
    return row


def _distinct(session: Session, job: int, start: int, end: int) -> dict[str, Any]:
    """Notes and sources of a job's day whose slots differ in them."""
    within = (JobSlot.job_id == job, JobSlot.slot >= start, JobSlot.slot < end)
    texts = session.scalars(select(JobSlot.notes).where(*within, JobSlot.notes.is_not(None)).distinct())
    notes = sorted({note for text in texts for note in json.loads(text or "[]")})
    priced = select(SlotPrice.source_id).join(JobSlot, JobSlot.price_id == SlotPrice.id).where(*within).distinct()
    sources = ",".join(str(source) for source in sorted(session.scalars(priced)))
    return {"notes": json.dumps(notes) if notes else None, "sources": sources}


def _changes(
    day: int,
    before: Mapping[JobDayKey, dict[str, Any]],
    after: Mapping[JobDayKey, dict[str, Any]],
    associations: Mapping[int, int],
) -> Iterable[dict[str, Any]]:
    for key in before.keys() | after.keys():
        was, now = before.get(key), after.get(key)
        if was != now:
            yield _change(day, associations[key[0]], was, now)


def _change(day: int, association_id: int | None, was: Row | None, now: Row | None) -> dict[str, Any]:
    """What a roll-up is changed by when a job's day is replaced; None: there was or is none."""
    change: dict[str, Any] = {"association_id": association_id, "day": day, "jobs": bool(now) - bool(was)}
    change["simulated_jobs"] = bool(now and now["simulated"]) - bool(was and was["simulated"])
    for name, jobs in _ROLLED:
        old, new = was[name] if was else None, now[name] if now else None
        change[name] = (new or 0) - (old or 0)
        change[jobs] = (new is not None) - (old is not None)
    return change


_ROLLED = tuple((name, f"{name}_jobs") for name in ROLLED)


def _joined(changes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One change a row; those that change nothing are left out."""
    sums: dict[tuple[int, int], dict[str, Any]] = {}
    for change in changes:
        key = change["association_id"], change["day"]
        if key not in sums:
            sums[key] = change
            continue
        for name, value in change.items():
            if name not in ("association_id", "day"):
                sums[key][name] += value
    return [row for row in sums.values() if any(v for n, v in row.items() if n not in ("association_id", "day"))]
