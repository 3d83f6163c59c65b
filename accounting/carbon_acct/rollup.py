# SPDX-License-Identifier: MIT
"""Keeps the days of the jobs and the roll-ups by association, in the transaction that changed a slot.

A job's day is computed again from its slots; what the roll-up of its association is changed by is the
difference to what that day was before. All of it is integers, so the roll-ups stay exact however often
and in whatever order rows come.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Integer, bindparam, cast, delete, func, select
from sqlalchemy.orm import Session

from carbon_acct.dayrow import METHODS, SUMMED, WEIGHTS, Row, followed
from carbon_acct.db.models import COMPONENTS, Association, DaySum, JobDay, JobSlot, SlotPrice
from carbon_acct.db.rows import IDS, add_rows, ask, ask_dicts, replace_rows, table_of
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
    changes = _Changes()
    for (start, end), jobs in sorted(by_day.items()):
        before = _stored(session, jobs, start)
        _replace(session, start, before, _computed(session, jobs, start, end), associations, changes)
    _add(session, changes)


def follow(
    session: Session, days: Mapping[tuple[int, int], Mapping[int, Slots]], associations: Mapping[int, int]
) -> None:
    """Days, (first second, first second after), in which slots of jobs have changed; only where it must be, all are read."""
    changes = _Changes()
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
                row["job_id"], row["day"] = job, start
                after[job, start] = row
        after |= _computed(session, again, start, end) if again else {}
        _replace(session, start, before, after, associations, changes)
    _add(session, changes)


def _replace(
    session: Session,
    day: int,
    before: Mapping[JobDayKey, dict[str, Any]],
    after: Mapping[JobDayKey, dict[str, Any]],
    associations: Mapping[int, int],
    changes: _Changes,
) -> None:
    """Store the days; what changes with them for the roll-ups goes to `changes`."""
    different = {key: row for key, row in after.items() if before.get(key) != row}
    gone = before.keys() - after.keys()
    replace_rows(session, table_of(JobDay), list(different.values()), gone)
    for key in different.keys() | gone:
        changes.add(day, associations[key[0]], before.get(key), after.get(key))


def moved(session: Session, job: int, before: int | None, after: int) -> None:
    """A job has come into another association, with all its days."""
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
_OF_JOB = _DAYS.where(JobDay.job_id == bindparam("job"))
_STORED = _DAYS.where(JobDay.job_id.in_(IDS), JobDay.day == bindparam("start"))
_USED = func.coalesce(JobSlot.energy_uj, 0) + func.coalesce(JobSlot.estimated_uj, 0)
SLOT_WEIGHTS = (
    (_USED * SlotPrice.g_per_kwh_float).label("g_per_kwh_weight"),
    (_USED * SlotPrice.pue_float).label("pue_weight"),
)
"""What a slot weighs in the shown means of its day."""


def weigh(slot: dict[str, Any], price: Price) -> None:
    """Add to the row of a slot, which has been stored, its price's source and SLOT_WEIGHTS."""
    used = (slot["energy_uj"] or 0) + (slot["estimated_uj"] or 0)
    slot["g_per_kwh_weight"], slot["pue_weight"] = used * price.g_per_kwh_float, used * price.pue_float
    slot["source_id"] = price.source_id


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
    .where(JobSlot.job_id.in_(IDS), JobSlot.slot >= bindparam("start"), JobSlot.slot < bindparam("end"))
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


_ROLLED = itemgetter(*ROLLED)


class _Changes:
    """What roll-ups change by while days of jobs are replaced; added up column by column in the end."""

    def __init__(self) -> None:
        # The figures of the days that come and of those that go, and how many more of them are simulated.
        self._came: dict[tuple[int, int], list[tuple[int | None, ...]]] = defaultdict(list)
        self._went: dict[tuple[int, int], list[tuple[int | None, ...]]] = defaultdict(list)
        self._simulated: Counter[tuple[int, int]] = Counter()

    def add(self, day: int, association_id: int | None, was: Row | None, now: Row | None) -> None:
        """A job's day is replaced; None: there was or is none, or, as the association, it is in no roll-up."""
        if association_id is None:
            return
        key = association_id, day
        if now is not None:
            self._came[key].append(_ROLLED(now))
            self._simulated[key] += bool(now["simulated"])
        if was is not None:
            self._went[key].append(_ROLLED(was))
            self._simulated[key] -= bool(was["simulated"])

    def rows(self) -> list[dict[str, Any]]:
        """One for each roll-up that changes."""
        return [row for key in self._came.keys() | self._went.keys() if (row := self._row(key))]

    def _row(self, key: tuple[int, int]) -> dict[str, Any] | None:
        came, went = self._came.get(key, []), self._went.get(key, [])
        row = {"jobs": len(came) - len(went), "simulated_jobs": self._simulated[key]}
        plus, minus = _known_sums(came), _known_sums(went)
        for name, (more, more_jobs), (less, less_jobs) in zip(ROLLED, plus, minus, strict=True):
            row[name], row[f"{name}_jobs"] = more - less, more_jobs - less_jobs
        return {"association_id": key[0], "day": key[1], **row} if any(row.values()) else None


def _known_sums(rows: Sequence[tuple[int | None, ...]]) -> list[tuple[int, int]]:
    """The sum of what is known in each column, and how many know it."""
    if not rows:
        return [(0, 0)] * len(ROLLED)
    columns = (_known(column) for column in zip(*rows, strict=True))
    return [(sum(known), len(known)) for known in columns]


def _known(column: Sequence[Any]) -> Sequence[Any]:
    return [value for value in column if value is not None] if None in column else column
