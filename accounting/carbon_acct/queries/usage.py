# SPDX-License-Identifier: MIT
"""Sums of jobs over days of the site, by user, account, partition, QOS, state, cluster, and day, week or month.

They are read from the roll-ups (`day_sum`), whose association has all that PrivateData goes by. So the sums hold
exactly the jobs that `Filters.viewer` may see, and no query takes longer because there are more jobs. It is used by
the HTTP API and, as a library, by the reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Select, case, func, literal_column, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from carbon_acct.days import Days
from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.lists import Lists
from carbon_acct.db.models import Association, Cluster, DaySum
from carbon_acct.known import sum_known
from carbon_acct.queries.job_filter import Filters, of_whom, state_name, visible
from carbon_acct.queries.period import Period, epoch_of
from carbon_acct.sums.day_sum import ROLLED

OF_ASSOCIATION = ("user", "account", "partition", "qos", "cluster")
OF_TIME = ("day", "week", "month")
WORDS = (*OF_ASSOCIATION, "state", *OF_TIME)
"""What sums can be made by."""
MOST_WORDS = 4
MOST_GROUPS = 50_000
"""The sums that a question may have before `top` cuts them: some hundred megabytes."""

Key = tuple[str | None, ...]
"""The values of the words, in their order. A day and a week are `2026-10-01`, a month is `2026-10`."""

WASTE_STATES = {
    "failed": ("FAILED",),
    "timeout": ("TIMEOUT", "DEADLINE"),
    "out_of_memory": ("OUT_OF_MEMORY",),
    "cancelled": ("CANCELLED",),
}
"""Rules of waste that go by the state of a run: all of its energy."""
WASTE_USE = {"gpu_idle": "gpu_idle_uj", "cpu_unused": "cpu_unused_uj"}
"""Rules that go by what was held and not used, of runs in other states than those."""
WASTE_RULES = (*WASTE_STATES, *WASTE_USE)

_OF_A_RULE = frozenset(state for states in WASTE_STATES.values() for state in states)


@dataclass(frozen=True)
class Waste:
    """The energy of a rule of waste in microjoules, measured and estimated, and its emissions in micrograms.

    `jobs` is None for rules that go by use. Their emissions are at the mean intensity of all energy beside them.
    """

    jobs: int | None
    energy_uj: int | None
    carbon_ug: int | None


class Figures:
    """Sums of jobs in integer microjoules, micrograms and microseconds, by the names of ROLLED. None: not known.

    A run that went on for several parts of a window counts in each of them, and in `once` only in its first.
    """

    __slots__ = ("_states",)

    def __init__(self) -> None:
        self._states: dict[str | None, dict[str, Any]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Add jobs of one `state`, or of all (None): their numbers `jobs` and `once`, whether any is `simulated`, and
        ROLLED.
        """
        state = self._states.get(row["state"])
        if state is None:
            self._states[row["state"]] = dict(row)
            return
        state["jobs"] += row["jobs"]
        state["once"] += row["once"]
        state["simulated"] |= row["simulated"]
        for name in ROLLED:
            state[name] = sum_known((state[name], row[name]))

    def merge(self, other: Figures) -> None:
        """Add the jobs of another sum, of which none is in this one."""
        for row in other._states.values():
            self.add(row)

    def together(self) -> Figures:
        """Return the same for all parts of the window as one: each run counts once."""
        found = Figures()
        for row in self._states.values():
            found.add({**row, "jobs": row["once"]})
        return found

    def __getitem__(self, name: str) -> int | None:
        """Return a sum by its name in ROLLED."""
        return sum_known(state[name] for state in self._states.values())

    @property
    def jobs(self) -> int:
        """Return the number of runs."""
        return sum(state["jobs"] for state in self._states.values())

    @property
    def simulated(self) -> bool:
        """Return whether simulated counters had a part in it."""
        return any(state["simulated"] for state in self._states.values())

    @property
    def used_uj(self) -> int:
        """Return measured and estimated energy; 0 where neither is known. Rows are ranked by it."""
        return (self["energy_uj"] or 0) + (self["estimated_uj"] or 0)

    @property
    def pue(self) -> float | None:
        """Return the mean PUE, weighted by energy."""
        facility = self["facility_uj"]
        return round(facility / self.used_uj, 9) if facility is not None and self.used_uj else None

    @property
    def intensity_g_per_kwh(self) -> float | None:
        """Return the mean intensity, weighted by the facility's energy."""
        facility, carbon = self["facility_uj"], self["carbon_ug"]
        return round(carbon * 3_600_000 / facility, 9) if carbon is not None and facility else None

    def waste(self) -> dict[str, Waste]:
        """Return the energy of each rule of waste. No energy is in two of them. Raises ValueError where states were not
        told apart.
        """
        if None in self._states:
            raise ValueError("these sums were asked for without waste")
        found = {rule: self._of_states(states) for rule, states in WASTE_STATES.items()}
        return found | {rule: self._of_use(name) for rule, name in WASTE_USE.items()}

    def _of_states(self, states: Sequence[str]) -> Waste:
        parts = [self._states[state] for state in states if state in self._states]
        energy = sum_known(part[name] for part in parts for name in ("energy_uj", "estimated_uj"))
        return Waste(sum(part["jobs"] for part in parts), energy, sum_known(part["carbon_ug"] for part in parts))

    def _of_use(self, name: str) -> Waste:
        energy = sum_known(part[name] for state, part in self._states.items() if state not in _OF_A_RULE)
        carbon = self["carbon_ug"]
        if energy is None or carbon is None or not self.used_uj:
            return Waste(None, energy, None)
        return Waste(None, energy, carbon * energy // self.used_uj)


@dataclass(frozen=True)
class UsageRow:
    """The sums of a key in the window, and in the window before where that was asked for."""

    key: Key
    figures: Figures
    previous: Figures | None = None


@dataclass(frozen=True)
class Usage:
    """Rows sorted by key, or the `top` ones by energy; what the others add up to, and how many; and the sum of all."""

    by: tuple[str, ...]
    rows: list[UsageRow]
    others: UsageRow | None
    other_rows: int
    total: UsageRow


def usage(
    session: Session,
    filters: Filters,
    period: Period,
    days: Days,
    by: Sequence[str] = (),
    previous: Period | None = None,
    top: int | None = None,
    waste: bool = True,
) -> Usage:
    """Return the sums of the jobs that the viewer may see, over the days of a window. Raises ValueError on bad words.

    Of `filters` what a roll-up has is used: users, accounts, partitions, QOS, clusters and states. Without `waste` the
    database need not tell states apart, which takes half of the time.
    """
    words = _checked(by, previous)
    now = _sums(session, filters, period, days, words, waste)
    before = None if previous is None else _sums(session, filters, previous, days, words, waste)
    rows = [
        UsageRow(key, now.get(key) or Figures(), None if before is None else before.get(key) or Figures())
        for key in sorted(now.keys() | (before or {}).keys(), key=_order)
    ]
    total = UsageRow((), _merged(now.values()).together(), None if before is None else _merged(before.values()))
    if not words:
        rows = []
    if top is None:
        return Usage(words, rows, None, 0, total)
    ranked = sorted(rows, key=lambda row: (-row.figures.used_uj, _order(row.key)))
    rest = ranked[top:]
    others = UsageRow(
        (),
        _merged(row.figures for row in rest),
        None if previous is None else _merged(row.previous for row in rest if row.previous),
    )
    return Usage(words, ranked[:top], others if rest else None, len(rest), total)


def _checked(by: Sequence[str], previous: Period | None) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(by))
    for word in words:
        if word not in WORDS:
            raise ValueError(f"by: {word!r} is none of {', '.join(WORDS)}")
    times = [word for word in words if word in OF_TIME]
    if len(times) > 1:
        raise ValueError(f"by: {' and '.join(times)} do not go together")
    if times and previous is not None:
        raise ValueError(f"by: {times[0]} does not go with compare")
    if len(words) > MOST_WORDS:
        raise ValueError(f"by: more than {MOST_WORDS} words")
    return words


def _merged(many: Iterable[Figures]) -> Figures:
    found = Figures()
    for one in many:
        found.merge(one)
    return found


def _order(key: Key) -> tuple[tuple[bool, str], ...]:
    return tuple((value is None, value or "") for value in key)


class _Question(NamedTuple):
    """What a query asks for. `starts`: the first seconds of the parts of the window."""

    filters: Filters
    period: Period
    days: Days
    words: tuple[str, ...]
    starts: list[int]
    by_state: bool


def _sums(
    session: Session, filters: Filters, period: Period, days: Days, words: tuple[str, ...], waste: bool
) -> dict[Key, Figures]:
    """Return the sums of each key."""
    unit = next((word for word in words if word in OF_TIME), None)
    firsts = period.first_days(unit) if unit else [period.first]
    starts = {epoch_of(day, days): day for day in firsts}
    asked = _Question(filters, period, days, words, sorted(starts), waste or "state" in words)
    found: dict[Key, Figures] = {}
    for row in _rows(session, asked):
        key = tuple(_value(row, word, starts) for word in words)
        if key not in found:
            found[key] = Figures()
        found[key].add(row)
    return found


def _value(row: Mapping[str, Any], word: str, starts: Mapping[int, Any]) -> str | None:
    if word not in OF_TIME:
        return row[word] or None
    day = starts[row["part"]] if "part" in row else next(iter(starts.values()))
    return f"{day:%Y-%m}" if word == "month" else f"{day:%Y-%m-%d}"


def _rows(session: Session, asked: _Question) -> Iterable[dict[str, Any]]:
    """Yield the sums of each group, and of each state where states are told apart, by the names of columns."""
    try:
        yield from _queried(session, asked, exact=False)
    except DBAPIError as err:
        if "integer overflow" not in str(err):  # of SQLite: more than 2.5 GWh in a group
            raise
        yield from _queried(session, asked, exact=True)


def _queried(session: Session, asked: _Question, exact: bool) -> list[dict[str, Any]]:
    words, starts = asked.words, asked.starts
    groups = {word: _column(word) for word in words if word not in OF_TIME}
    if asked.by_state:
        groups["state"] = DaySum.state
    if len(starts) > 1:
        groups["part"] = _part(words, starts)
    # A run counts on the first day of a part, and later where it has no earlier day.
    once = case((DaySum.day == starts[0], DaySum.jobs), else_=DaySum.first_jobs)
    counted = DaySum.jobs if "day" in words else case((DaySum.day.in_(starts), DaySum.jobs), else_=DaySum.first_jobs)
    width = 2 if exact else 1
    sums = [part for name in ROLLED for part in _summed(getattr(DaySum, name), exact)]
    known = [func.sum(getattr(DaySum, f"{name}_jobs")) for name in ROLLED]
    query = select(
        *(column.label(name) for name, column in groups.items()),
        func.sum(counted),
        func.sum(once),
        func.sum(DaySum.simulated_jobs),
        *sums,
        *known,
    )
    query = _narrowed(query, asked, Lists(session.get_bind().dialect.name))
    bounded = query.group_by(*groups.values()).limit(MOST_GROUPS + 1)
    # The statement is not kept: the days of the window stand in its text.
    rows = session.execute(bounded, execution_options={"compiled_cache": None}).all()
    if len(rows) > MOST_GROUPS:
        raise ValueError(f"more than {MOST_GROUPS} sums; ask for fewer days, or by fewer words")
    return [_figures(tuple(row), list(groups), width) for row in rows if row[len(groups)] is not None]


def _figures(values: tuple[Any, ...], names: list[str], width: int) -> dict[str, Any]:
    """Return a row by the names of its columns, as integers of any size."""
    found: dict[str, Any] = {"state": None} | dict(zip(names, values, strict=False))
    jobs, once, simulated, *rest = values[len(names) :]
    found |= {"jobs": int(jobs), "once": int(once), "simulated": bool(simulated)}
    known = rest[width * len(ROLLED) :]
    for at, name in enumerate(ROLLED):
        parts = rest[width * at : width * (at + 1)]
        found[name] = (int(parts[0]) if width == 1 else exact_whole(parts)) if known[at] else None
    return found


def _summed(column: Any, exact: bool) -> list[Any]:
    return exact_parts(column) if exact else [func.sum(column)]


def _column(word: str) -> Any:
    if word == "cluster":
        return Cluster.name
    return DaySum.state if word == "state" else getattr(Association, word)


def _part(words: tuple[str, ...], starts: list[int]) -> Any:
    """Return the first second of the part of the window in which a day lies."""
    if "day" in words:
        return DaySum.day
    text: dict[int, Any] = {
        start: literal_column(str(start)) for start in starts
    }  # PostgreSQL groups by no expression with parameters
    return case(*((DaySum.day >= text[start], text[start]) for start in reversed(starts[1:])), else_=text[starts[0]])


def _narrowed(query: Select[Any], asked: _Question, lists: Lists) -> Select[Any]:
    """Return the query with the days, what the viewer may see, and what was asked for."""
    filters, period, days, words = asked.filters, asked.period, asked.days, asked.words
    conditions = [*visible(filters.viewer, Association, lists), *of_whom(filters, Association, lists)]
    query = query.select_from(DaySum)
    with_cluster = "cluster" in words or bool(filters.clusters)
    if conditions or with_cluster or set(words) & set(OF_ASSOCIATION):
        query = query.join(Association, Association.id == DaySum.association_id)
    if with_cluster:
        query = query.join(Cluster, Cluster.id == Association.cluster_id)
    if filters.clusters:
        conditions.append(lists.among(Cluster.name, filters.clusters))
    if filters.states:
        conditions.append(lists.among(DaySum.state, {state_name(text) for text in filters.states}))
    first, until = epoch_of(period.first, days), epoch_of(period.until, days)
    return query.where(DaySum.day >= first, DaySum.day < until, *conditions)
