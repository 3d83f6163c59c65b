# SPDX-License-Identifier: MIT
"""Updates the days of jobs (job_day) and their roll-ups by association and state (day_sum), in the transaction that
changed a slot.

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

from carbon_acct.db.large_sums import add_large, is_large
from carbon_acct.db.models import DaySum, JobDay, JobSlot, SlotFactor
from carbon_acct.db.row_types import GroupRow
from carbon_acct.db.rows import IDS, add_rows, ask_dicts, ask_ids, replace_rows, table_of
from carbon_acct.factors.arithmetic import Factors
from carbon_acct.sums.job_day import LABELS, METHODS, SUMMED, WASTED, WEIGHTS, Row, growth, join
from carbon_collector.meters.base import COMPONENTS

ROLLED = (
    *("cpu_us", *(f"{c}_uj" for c in COMPONENTS)),
    *("energy_uj", "estimated_uj", "facility_uj", "carbon_ug", "market_ug", "embodied_ug", "upstream_ug", "td_ug"),
    *WASTED,
)
"""The figures that roll-ups hold, each with the number of jobs that have it."""

JobDayKey = tuple[int, int]
Group = tuple[int, str]
"""The association and the state of a run: the days of all runs that share both are added up."""
Groups = Mapping[int, Group | None]
"""The groups of runs, by the run's key. A run whose association is not known has None, and is in no roll-up."""

STATE_CHARS = 32
Slots = list[tuple[Row | None, Row | None]]
"""The rows of a job's slots before and after a change. None means that there was, or is, no row."""


def state_of(text: str) -> str:
    """Return the state without who is behind it: `CANCELLED by 1000` is CANCELLED."""
    return text.partition(" ")[0][:STATE_CHARS]


def groups_of(runs: Mapping[int, GroupRow]) -> Groups:
    """Return the groups of runs whose rows are locked."""
    return {key: group_of(run.association_id, run.state) for key, run in runs.items()}


def group_of(association_id: int | None, state: str) -> Group | None:
    """Return the group of a run."""
    return None if association_id is None else (association_id, state_of(state))


def recompute(session: Session, days: Collection[tuple[int, int, int]], groups: Groups) -> None:
    """Recompute days of jobs, given as (job, first second, first second after), and update the roll-ups."""
    by_day: dict[tuple[int, int], list[int]] = defaultdict(list)
    for job, start, end in days:
        by_day[start, end].append(job)
    changes = _Changes()
    for (start, end), jobs in sorted(by_day.items()):
        before = _stored(session, jobs, start)
        _replace(session, start, before, _computed(session, jobs, start, end), groups, changes)
    _add(session, changes)


def update(session: Session, days: Mapping[tuple[int, int], Mapping[int, Slots]], groups: Groups) -> None:
    """Update the days (first second, first second after) in which slots of jobs changed, and the roll-ups. Slots are
    read only where needed.
    """
    changes = _Changes()
    for (start, end), jobs in sorted(days.items()):
        again = _grow(session, start, jobs, groups, changes)
        if again:
            before = _stored(session, again, start)
            _replace(session, start, before, _computed(session, again, start, end), groups, changes)
    _add(session, changes)


def _grow(session: Session, day: int, jobs: Mapping[int, Slots], groups: Groups, changes: _Changes) -> list[int]:
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
            changes.grow(job, day, groups[job], before, row)
            row["job_id"], row["day"] = job, day
            rows.append(row)
    add_rows(session, table_of(JobDay), rows)
    return again


def _replace(
    session: Session,
    day: int,
    before: Mapping[JobDayKey, dict[str, Any]],
    after: Mapping[JobDayKey, dict[str, Any]],
    groups: Groups,
    changes: _Changes,
) -> None:
    """Store the days, and add the changes of the roll-ups to `changes`."""
    different = {key: row for key, row in after.items() if before.get(key) != row}
    gone = before.keys() - after.keys()
    replace_rows(session, table_of(JobDay), list(different.values()), gone)
    for key in different.keys() | gone:
        changes.add(key[0], day, groups[key[0]], before.get(key), after.get(key))


def move(session: Session, before: Groups, after: Groups) -> None:
    """Move all days of the runs in `after` from the roll-ups of one group to those of another."""
    changes = _Changes()
    moved = [run for run, group in after.items() if before[run] != group]
    for row in ask_dicts(session, _OF_JOBS, moved):
        run, day = row["job_id"], row["day"]
        changes.add(run, day, before[run], row, None)
        changes.add(run, day, after[run], None, row)
    _add(session, changes)


def _add(session: Session, changes: _Changes) -> None:
    changes.count_firsts(_days_of(session, changes.runs()))
    rows = changes.rows()
    if not rows:
        return
    table = table_of(DaySum)
    of_days = [row["day"] for row in rows]
    between = {"low": min(of_days), "high": max(of_days)}
    large = ask_ids(session, _LARGE, {row["association_id"] for row in rows}, **between)
    add_large(session, table, rows, set(map(tuple, large)))
    days = {row["day"] for row in rows if row["jobs"] < 0}
    if days:  # a sum of several parts has jobs
        session.execute(delete(DaySum).where(DaySum.day.in_(days), DaySum.part == 0, DaySum.jobs == 0))


_LARGE = select(DaySum.association_id, DaySum.day, DaySum.state).where(
    DaySum.association_id.in_(IDS), DaySum.day.between(bindparam("low"), bindparam("high")), is_large(table_of(DaySum))
)


def _days_of(session: Session, runs: Collection[int]) -> dict[int, set[int]]:
    """Return the days that runs have now."""
    found: dict[int, set[int]] = {run: set() for run in runs}
    for run, day in ask_ids(session, _DAY_KEYS, runs):
        found[run].add(day)
    return found


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
_OF_JOBS = _DAYS.where(JobDay.job_id.in_(IDS))
_DAY_KEYS = select(JobDay.job_id, JobDay.day).where(JobDay.job_id.in_(IDS))
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
        self._jobs: Counter[_Key] = Counter()
        self._firsts: Counter[_Key] = Counter()
        self._simulated: Counter[_Key] = Counter()
        # The days that runs got in a group, and lost in one.
        self._new: dict[tuple[int, Group], set[int]] = defaultdict(set)
        self._gone: dict[tuple[int, Group], set[int]] = defaultdict(set)

    def add(self, run: int, day: int, group: Group | None, was: Row | None, now: Row | None) -> None:
        """Replace a run's day. None means that there was, or is, no day; a run without a group is in no roll-up."""
        if group is None:
            return
        key = (*group, day)
        for row, figures, sign in ((now, self._come, 1), (was, self._go, -1)):
            if row is not None:
                figures[key][_NONE_KNOWN].append(_ROLLED(row))
                self._jobs[key] += sign
                self._simulated[key] += sign * bool(row["simulated"])
        if was is None:
            self._new[run, group].add(day)
        elif now is None:
            self._gone[run, group].add(day)

    def grow(self, run: int, day: int, group: Group | None, stored: Row | None, by: Row) -> None:
        """Add `by` to a run's day. `stored` is the day's row of _LABELLED before; `by` has the labels after. None is as
        in `add`.
        """
        if stored is None:
            self.add(run, day, group, None, by)
        elif group is not None:
            key = (*group, day)
            self._come[key][stored["unknown"]].append(_ROLLED(by))
            if by["simulated"] != stored["simulated"]:
                self._simulated[key] += bool(by["simulated"]) - bool(stored["simulated"])

    def runs(self) -> set[int]:
        """Return the runs that got or lost a day, or moved."""
        return {run for run, _ in self._new.keys() | self._gone.keys()}

    def count_firsts(self, days: Mapping[int, set[int]]) -> None:
        """Count the first day of each run where it is now, and no longer where it was. `days`: those that runs have now."""
        current = dict(self._new.keys())
        for run, group in self._new.keys() | self._gone.keys():
            new, gone = self._new.get((run, group), set()), self._gone.get((run, group), set())
            now = days[run] if current.get(run, group) == group else set()  # a run that moved has no day here any more
            for found, sign in ((now, 1), ((now - new) | gone, -1)):
                if found:
                    self._firsts[(*group, min(found))] += sign

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each roll-up that changes."""
        keys = self._come.keys() | self._go.keys() | {key for key, change in self._firsts.items() if change}
        return [row for key in keys if (row := self._row(key))]

    def _row(self, key: _Key) -> dict[str, Any] | None:
        row = _NO_CHANGE | {"jobs": self._jobs[key], "simulated_jobs": self._simulated[key]}
        row["first_jobs"] = self._firsts[key]
        for figures, sign in ((self._come, 1), (self._go, -1)):
            for unknown, rows in figures[key].items() if key in figures else ():
                for bit, (name, column) in enumerate(zip(ROLLED, zip(*rows, strict=True), strict=True)):
                    known = [value for value in column if value is not None]
                    if known:
                        row[name] += sign * sum(known)
                        if unknown >> bit & 1:
                            row[f"{name}_jobs"] += sign * len(known)
        association_id, state, day = key
        return {"association_id": association_id, "state": state, "day": day, **row} if any(row.values()) else None


_Key = tuple[int, str, int]
_Figures = dict[_Key, dict[int, list[tuple[int | None, ...]]]]
_NO_CHANGE: dict[str, int] = dict.fromkeys(
    ("jobs", "first_jobs", "simulated_jobs", *(name for rolled in ROLLED for name in (rolled, f"{rolled}_jobs"))), 0
)
