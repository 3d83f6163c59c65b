# SPDX-License-Identifier: MIT
"""Updates the days of jobs (job_day) and their roll-ups by association (day_sum), in the transaction that changed a
slot.

A job's day grows by what its changed slots add, and its roll-up by the same amount. Where the changed slots alone do
not tell, the day is recomputed from all of its slots, and the roll-up changes by the difference to the day before. All
figures are integers, so roll-ups stay exact however often and in whatever order rows arrive.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from operator import add, itemgetter
from typing import Any

from sqlalchemy import Integer, bindparam, case, cast, delete, func, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import DaySum, JobDay, JobSlot, SlotFactor
from carbon_acct.db.rows import IDS, add_rows, ask, ask_dicts, replace_rows, table_of
from carbon_acct.factors.arithmetic import Factors
from carbon_acct.sums.job_day import LABELS, METHODS, SUMMED, WEIGHTS, Row, growth, join
from carbon_collector.meters.base import COMPONENTS

ROLLED = ("cpu_us", *(f"{c}_uj" for c in COMPONENTS), *SUMMED[-8:])
"""The figures that roll-ups hold, each with the number of jobs that have it."""

JobDayKey = tuple[int, int]
Slots = list[tuple[Row | None, Row | None]]
"""The rows of a job's slots before and after a change. None means that there was, or is, no row."""


def recompute(session: Session, days: Collection[tuple[int, int, int]], associations: Mapping[int, int | None]) -> None:
    """Recompute days of jobs, given as (job, first second, first second after), and update the roll-ups."""
    by_day: dict[tuple[int, int], list[int]] = defaultdict(list)
    for job, start, end in days:
        by_day[start, end].append(job)
    changes = _Changes()
    for (start, end), jobs in sorted(by_day.items()):
        before = _stored(session, jobs, start)
        _replace(session, start, before, _computed(session, jobs, start, end), associations, changes)
    _add(session, changes)


def update(
    session: Session, days: Mapping[tuple[int, int], Mapping[int, Slots]], associations: Mapping[int, int | None]
) -> None:
    """Update the days (first second, first second after) in which slots of jobs changed, and the roll-ups. Slots are
    read only where needed.
    """
    changes = _Changes()
    for (start, end), jobs in sorted(days.items()):
        again = _grow(session, start, jobs, associations, changes)
        if again:
            before = _stored(session, again, start)
            _replace(session, start, before, _computed(session, again, start, end), associations, changes)
    _add(session, changes)


def _grow(
    session: Session, day: int, jobs: Mapping[int, Slots], associations: Mapping[int, int | None], changes: _Changes
) -> list[int]:
    """Add to the days of jobs what their slots add. Return the jobs whose day must be recomputed."""
    grown = {job: growth(slots) for job, slots in jobs.items()}
    stored = {row["job_id"]: row for row in ask_dicts(session, _LABELLED, grown, start=day)}
    again = []
    rows = []
    for job, row in grown.items():
        before = stored.get(job)
        if row is None or (before is None and any(was for was, _ in jobs[job])):
            again.append(job)
        elif row:
            if before is not None:
                join(row, before)
            changes.grow(day, associations[job], before, row)
            row["job_id"], row["day"] = job, day
            rows.append(row)
    add_rows(session, table_of(JobDay), rows)
    return again


def _replace(
    session: Session,
    day: int,
    before: Mapping[JobDayKey, dict[str, Any]],
    after: Mapping[JobDayKey, dict[str, Any]],
    associations: Mapping[int, int | None],
    changes: _Changes,
) -> None:
    """Store the days, and add the changes of the roll-ups to `changes`."""
    different = {key: row for key, row in after.items() if before.get(key) != row}
    gone = before.keys() - after.keys()
    replace_rows(session, table_of(JobDay), list(different.values()), gone)
    for key in different.keys() | gone:
        changes.add(day, associations[key[0]], before.get(key), after.get(key))


def move_association(session: Session, job: int, before: int | None, after: int) -> None:
    """Move all days of a job from the roll-ups of one association to those of another."""
    changes = _Changes()
    for row in ask(session, _OF_JOB, {"job": job}):
        changes.add(row.day, before, row._asdict(), None)
        changes.add(row.day, after, None, row._asdict())
    _add(session, changes)


def _add(session: Session, changes: _Changes) -> None:
    rows = changes.rows()
    add_rows(session, table_of(DaySum), rows)
    days = {row["day"] for row in rows if row["jobs"] < 0}
    if days:
        session.execute(delete(DaySum).where(DaySum.day.in_(days), DaySum.jobs == 0))


def _stored(session: Session, jobs: Iterable[int], day: int) -> dict[JobDayKey, dict[str, Any]]:
    return {(row["job_id"], day): row for row in ask_dicts(session, _STORED, list(jobs), start=day)}


def _computed(session: Session, jobs: Collection[int], start: int, end: int) -> dict[JobDayKey, dict[str, Any]]:
    rows = ask_dicts(session, _COMPUTED, jobs, start=start, end=end)
    return {(row["job_id"], start): _day(session, row, start, end) for row in rows}


_DAYS = select(*table_of(JobDay).columns)
_UNKNOWN = [case((getattr(JobDay, name).is_(None), 1 << bit), else_=0) for bit, name in enumerate(ROLLED)]
"""The figures that a day does not have, one bit each: few bytes to read."""

_LABELLED = select(
    JobDay.job_id, *(getattr(JobDay, name) for name in LABELS), reduce(add, _UNKNOWN).label("unknown")
).where(JobDay.job_id.in_(IDS), JobDay.day == bindparam("start"))
_OF_JOB = _DAYS.where(JobDay.job_id == bindparam("job"))
_STORED = _DAYS.where(JobDay.job_id.in_(IDS), JobDay.day == bindparam("start"))
_USED = func.coalesce(JobSlot.energy_uj, 0) + func.coalesce(JobSlot.estimated_uj, 0)
SLOT_WEIGHTS = (
    (_USED * SlotFactor.g_per_kwh_float).label("g_per_kwh_weight"),
    (_USED * SlotFactor.pue_float).label("pue_weight"),
)
"""The weights of a slot in the means of its day that are shown."""


def weigh(slot: dict[str, Any], factors: Factors) -> None:
    """Add the factor's source and SLOT_WEIGHTS to the row of a slot that has been stored."""
    used = (slot["energy_uj"] or 0) + (slot["estimated_uj"] or 0)
    slot["g_per_kwh_weight"], slot["pue_weight"] = used * factors.g_per_kwh_float, used * factors.pue_float
    slot["source_id"] = factors.source_id


_COMPUTED = (
    select(
        JobSlot.job_id,
        *(func.sum(getattr(JobSlot, name)).label(name) for name in SUMMED),
        *(func.max(getattr(JobSlot, name)).label(name) for name in METHODS),
        func.max(cast(JobSlot.simulated, Integer)).label("simulated"),
        func.min(JobSlot.notes).label("notes"),
        func.max(JobSlot.notes).label("last_notes"),
        func.min(SlotFactor.source_id).label("source"),
        func.max(SlotFactor.source_id).label("last_source"),
        *(func.sum(weight).label(weight.name) for weight in SLOT_WEIGHTS),
    )
    .join(SlotFactor, SlotFactor.id == JobSlot.factor_id)
    .where(JobSlot.job_id.in_(IDS), JobSlot.slot >= bindparam("start"), JobSlot.slot < bindparam("end"))
    .group_by(JobSlot.job_id)
)


def _day(session: Session, row: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    """Return a row of job_day from a row of the query. The query returns only the least and the greatest label of the
    day. Where these differ, the labels of all slots are read.
    """
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
    """Return the notes and sources of a job's day whose slots differ in them."""
    within = (JobSlot.job_id == job, JobSlot.slot >= start, JobSlot.slot < end)
    texts = session.scalars(select(JobSlot.notes).where(*within, JobSlot.notes.is_not(None)).distinct())
    notes = sorted({note for text in texts for note in json.loads(text or "[]")})
    applied = select(SlotFactor.source_id).join(JobSlot, JobSlot.factor_id == SlotFactor.id).where(*within).distinct()
    sources = ",".join(str(source) for source in sorted(session.scalars(applied)))
    return {"notes": json.dumps(notes) if notes else None, "sources": sources}


_ROLLED = itemgetter(*ROLLED)
_NONE_KNOWN = (1 << len(ROLLED)) - 1


class _Changes:
    """The changes of roll-ups while days of jobs grow or are replaced. They are added up column by column at the end."""

    def __init__(self) -> None:
        # The figures that come and those that go, by what was not known before of the days that they are added to.
        self._come: _Figures = defaultdict(lambda: defaultdict(list))
        self._go: _Figures = defaultdict(lambda: defaultdict(list))
        self._jobs: Counter[tuple[int, int]] = Counter()
        self._simulated: Counter[tuple[int, int]] = Counter()

    def add(self, day: int, association_id: int | None, was: Row | None, now: Row | None) -> None:
        """Replace a job's day. None means that there was, or is, no day; a job without association is in no roll-up."""
        if association_id is None:
            return
        key = association_id, day
        for row, figures, sign in ((now, self._come, 1), (was, self._go, -1)):
            if row is not None:
                figures[key][_NONE_KNOWN].append(_ROLLED(row))
                self._jobs[key] += sign
                self._simulated[key] += sign * bool(row["simulated"])

    def grow(self, day: int, association_id: int | None, stored: Row | None, by: Row) -> None:
        """Add `by` to a job's day. `stored` is the day's row of _LABELLED before; `by` has the labels after. None is as
        in `add`.
        """
        if stored is None:
            self.add(day, association_id, None, by)
        elif association_id is not None:
            key = association_id, day
            self._come[key][stored["unknown"]].append(_ROLLED(by))
            if by["simulated"] != stored["simulated"]:
                self._simulated[key] += bool(by["simulated"]) - bool(stored["simulated"])

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each roll-up that changes."""
        return [row for key in self._come.keys() | self._go.keys() if (row := self._row(key))]

    def _row(self, key: tuple[int, int]) -> dict[str, Any] | None:
        row = _NO_CHANGE | {"jobs": self._jobs[key], "simulated_jobs": self._simulated[key]}
        for figures, sign in ((self._come, 1), (self._go, -1)):
            for unknown, rows in figures[key].items() if key in figures else ():
                for bit, (name, column) in enumerate(zip(ROLLED, zip(*rows, strict=True), strict=True)):
                    known = [value for value in column if value is not None]
                    if known:
                        row[name] += sign * sum(known)
                        if unknown >> bit & 1:
                            row[f"{name}_jobs"] += sign * len(known)
        return {"association_id": key[0], "day": key[1], **row} if any(row.values()) else None


_Figures = dict[tuple[int, int], dict[int, list[tuple[int | None, ...]]]]
_NO_CHANGE: dict[str, int] = dict.fromkeys(
    ("jobs", "simulated_jobs", *(name for rolled in ROLLED for name in (rolled, f"{rolled}_jobs"))), 0
)
