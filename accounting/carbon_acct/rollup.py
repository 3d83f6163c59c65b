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

from sqlalchemy import Integer, Table, cast, delete, func, insert, select, update
from sqlalchemy.orm import Session

from carbon_acct.db.models import COMPONENTS, Association, DaySum, JobDay, JobSlot, SlotPrice
from carbon_acct.db.upsert import add_to

METHODS = tuple(f"{c}_method" for c in COMPONENTS)
SUMMED = (
    "cpu_us",
    *(f"{c}_{kind}" for c in COMPONENTS for kind in ("uj", "static_uj", "metered_us", "alloc_us")),
    *("energy_uj", "estimated_uj", "facility_uj", "carbon_ug", "market_ug", "embodied_ug", "upstream_ug", "td_ug"),
)
"""Columns of job_slot and job_day that add up."""

ROLLED = ("cpu_us", *(f"{c}_uj" for c in COMPONENTS), *SUMMED[-8:])
"""Those that the roll-ups hold, each with the number of jobs that have a figure."""

WEIGHTS = ("g_per_kwh_weight", "pue_weight")

JobDayKey = tuple[int, int]


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
        after = _computed(session, jobs, start, end)
        _store(session, before, after)
        changes += _changes(start, before, after, associations)
    _add(session, changes)


def moved(session: Session, job: int, before: int | None, after: int) -> None:
    """A job has come into another association, with all its days."""
    rows = _rows(session, select(*_DAY_COLUMNS).where(JobDay.job_id == job))
    away = [_change(row["day"], before, row, -1) for row in rows.values() if before is not None]
    _add(session, [*away, *(_change(row["day"], after, row, 1) for row in rows.values())])


def _add(session: Session, changes: Iterable[dict[str, Any]]) -> None:
    joined = _joined(changes)
    add_to(session, _table(DaySum), joined)
    days = {row["day"] for row in joined if row["jobs"] < 0}
    if days:
        session.execute(delete(DaySum).where(DaySum.day.in_(days), DaySum.jobs == 0))


_DAY_COLUMNS = tuple(_column for _column in JobDay.__table__.columns)


def _stored(session: Session, jobs: Collection[int], day: int) -> dict[JobDayKey, dict[str, Any]]:
    return _rows(session, select(*_DAY_COLUMNS).where(JobDay.job_id.in_(jobs), JobDay.day == day))


def _rows(session: Session, query: Any) -> dict[JobDayKey, dict[str, Any]]:
    return {(row["job_id"], row["day"]): dict(row) for row in session.execute(query).mappings()}


def _computed(session: Session, jobs: Collection[int], start: int, end: int) -> dict[JobDayKey, dict[str, Any]]:
    used = func.coalesce(JobSlot.energy_uj, 0) + func.coalesce(JobSlot.estimated_uj, 0)
    query = (
        select(
            JobSlot.job_id,
            *(func.sum(getattr(JobSlot, name)).label(name) for name in SUMMED),
            *(func.max(getattr(JobSlot, name)).label(name) for name in METHODS),
            func.max(cast(JobSlot.simulated, Integer)).label("simulated"),
            func.min(JobSlot.notes).label("notes"),
            func.max(JobSlot.notes).label("last_notes"),
            func.min(SlotPrice.source_id).label("source"),
            func.max(SlotPrice.source_id).label("last_source"),
            func.sum(used * SlotPrice.g_per_kwh_float).label("g_per_kwh_weight"),
            func.sum(used * SlotPrice.pue_float).label("pue_weight"),
        )
        .join(SlotPrice, SlotPrice.id == JobSlot.price_id)
        .where(JobSlot.job_id.in_(jobs), JobSlot.slot >= start, JobSlot.slot < end)
        .group_by(JobSlot.job_id)
    )
    found = {}
    for row in session.execute(query).mappings():
        found[row["job_id"], start] = _day(session, dict(row), start, end)
    return found


def _day(session: Session, row: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    """A row of job_day from one of the query; only where slots differ are they asked for one by one."""
    for name in SUMMED:
        row[name] = None if row[name] is None else int(row[name])
    for name in WEIGHTS:
        row[name] = float(row[name])
    row |= {"day": start, "simulated": bool(row["simulated"])}
    within = (JobSlot.job_id == row["job_id"], JobSlot.slot >= start, JobSlot.slot < end)
    last_notes, source, last_source = row.pop("last_notes"), row.pop("source"), row.pop("last_source")
    if row["notes"] != last_notes:
        texts = session.scalars(select(JobSlot.notes).where(*within, JobSlot.notes.is_not(None)).distinct())
        row["notes"] = json.dumps(sorted({note for text in texts for note in json.loads(text or "[]")}))
    row["sources"] = str(source)
    if source != last_source:
        query = select(SlotPrice.source_id).join(JobSlot, JobSlot.price_id == SlotPrice.id).where(*within).distinct()
        row["sources"] = ",".join(str(found) for found in sorted(session.scalars(query)))
    return row


def _store(
    session: Session, before: Mapping[JobDayKey, dict[str, Any]], after: Mapping[JobDayKey, dict[str, Any]]
) -> None:
    table = _table(JobDay)
    new = [row for key, row in after.items() if key not in before]
    if new:
        session.execute(insert(table), new)
    for key, row in after.items():
        if key in before and before[key] != row:
            session.execute(
                _at(update(table), key).values({n: v for n, v in row.items() if n not in ("job_id", "day")})
            )
    for key in before.keys() - after.keys():
        session.execute(_at(delete(table), key))


def _at(statement: Any, key: JobDayKey) -> Any:
    return statement.where(JobDay.job_id == key[0], JobDay.day == key[1])


def _changes(
    day: int,
    before: Mapping[JobDayKey, dict[str, Any]],
    after: Mapping[JobDayKey, dict[str, Any]],
    associations: Mapping[int, int],
) -> Iterable[dict[str, Any]]:
    for key in sorted(before.keys() | after.keys()):
        for row, sign in ((before.get(key), -1), (after.get(key), 1)):
            if row is not None:
                yield _change(day, associations[key[0]], row, sign)


def _change(day: int, association_id: int | None, row: Mapping[str, Any], sign: int) -> dict[str, Any]:
    change: dict[str, Any] = {"association_id": association_id, "day": day, "jobs": sign}
    change["simulated_jobs"] = sign * int(row["simulated"])
    for name in ROLLED:
        change[name] = sign * (row[name] or 0)
        change[f"{name}_jobs"] = sign * (row[name] is not None)
    return change


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


def _table(model: Any) -> Table:
    found: Table = model.__table__
    return found
