# SPDX-License-Identifier: MIT
"""Counts the runs of a period by how well they are known, in the database: a row for each owner and kind, not for each
run.

In most runs every component that concerns them was metered all the time, or never, or was modelled. The quality and the
coverage of such a run follow from that alone. Only the other runs are looked at one by one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, case, exists, func, literal, or_, select, union_all

from carbon_acct.db.exact_sum import exact_whole
from carbon_acct.db.models import COUNTED, Cluster, Job, JobDay
from carbon_acct.db.rows import ask
from carbon_acct.queries.quality import ComponentState, Verdict, judge
from carbon_acct.window import FOREVER
from carbon_collector.meters.base import COMPONENTS

from . import runs
from .held import OF_DAY, TRES, Held, of_run, sums_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import ColumnElement, Select, Subquery
    from sqlalchemy.orm import Session

    from .scope import Scope

ABSENT, WHOLE, MISSING, MODELLED = range(4)
"""The state of a component in a day of a run: it did not concern the run, was metered all the time, not at all, or
modelled.
"""

KINDS = 4 ** len(COMPONENTS)
OTHERWISE = -KINDS
"""The addend that makes the kind of a day negative, whatever the other components are."""


@dataclass
class Tally:
    """The number of runs of each quality and the energy of those that have one, with their node-time and its coverage."""

    runs: Counter[str] = field(default_factory=Counter)
    used_uj: Counter[str] = field(default_factory=Counter)
    node_s: int = 0
    covered: float = 0.0
    """Node-seconds times percent."""

    def count(self, verdict: Verdict, runs: int, used_uj: int | None, node_s: int) -> None:
        """Add runs that are alike. A run of which nothing is known was not covered."""
        self.runs[verdict.quality] += runs
        if used_uj is not None:
            self.used_uj[verdict.quality] += used_uj
        if verdict.coverage is not None or verdict.quality == "none":
            self.node_s += node_s
            self.covered += node_s * (verdict.coverage or 0.0)


class Found(NamedTuple):
    """A run that may be one of those with the most energy. Energy is in millijoules here, so that no sum exceeds 64
    bits.
    """

    association: int
    used_mj: int
    id: int


NO_ROWS = Verdict(None, "none", ())
UJ_PER_MJ = 1000
_USED_UJ = func.coalesce(JobDay.energy_uj, 0) + func.coalesce(JobDay.estimated_uj, 0)
_KNOWN_UJ = OF_DAY["known"]


def tallies(session: Session, scope: Scope) -> tuple[dict[int, Tally], Held]:
    """Return the tally of the runs that have rows, by association, and what the runs with energy held. One scan finds
    both.
    """
    found: dict[int, Tally] = {}
    odd: list[int] = []
    had = Held()
    for key, tres, count, node_s, *sums in ask(session, _kinds(scope), {}):
        had.add(tres, sums)
        if key < 0:
            odd.append(-key)
            continue
        association, kind = divmod(int(key), KINDS)
        used = exact_whole(sums[4:6])
        found.setdefault(association, Tally()).count(_verdict(kind), int(count), used, int(node_s))
    for run in runs.read(session, odd, scope):
        node_s = (run.record["elapsed_s"] or 0) * (run.record["nnodes"] or 1)
        verdict = Verdict(run.record["coverage"], run.record["quality"], ())
        found.setdefault(run.association, Tally()).count(verdict, 1, run.used_uj, node_s)
    return found, had


def greatest(session: Session, scope: Scope, most: int) -> list[Found]:
    """Return the runs of each association with the most energy, among those that have rows."""
    runs = _runs(scope, {"used": _KNOWN_UJ // UJ_PER_MJ}, lambda day: {"used": func.sum(day.used)})
    ranked = _ranked(func.coalesce(runs.c.used, 0)).join(runs, runs.c.job_id == Job.id)
    return [Found(*map(int, row[:3])) for row in ask(session, _first(ranked.where(_ran(scope, runs.c.used)), most), {})]


def silent(session: Session, scope: Scope, most: int) -> tuple[dict[int, Tally], list[Found]]:
    """Return the tally of the runs without any row by association, and the first of these runs."""
    tallied: dict[int, Tally] = {}
    first: list[Found] = []
    for without in _without_rows(scope):
        ranked = _ranked(literal(0), func.count(), func.sum(scope.node_seconds())).where(without)
        for *run, place, count, node_s in ask(session, _first(ranked, max(most, 1)), {}):
            found = Found(*map(int, run))
            first += [found][:most]
            if place == 1:
                tallied.setdefault(found.association, Tally()).count(NO_ROWS, int(count), None, int(node_s))
    return tallied, first


def all_runs(session: Session, scope: Scope) -> list[int]:
    """Return the ids of all runs, by cluster, JobIDRaw and submit time."""
    runs = _runs(scope, {"known": _KNOWN_UJ}, lambda day: {"known": func.max(day.known)})
    having = select(Job.id).join(runs, runs.c.job_id == Job.id).where(_ran(scope, runs.c.known))
    ids = union_all(having, *(select(Job.id).where(without) for without in _without_rows(scope))).subquery()
    query = select(Job.id).join(ids, ids.c.id == Job.id).join(Cluster, Cluster.id == Job.cluster_id)
    return [row.id for row in ask(session, query.order_by(Cluster.name, Job.job_id_raw, Job.submit), {})]


def _without_rows(scope: Scope) -> list[ColumnElement[bool]]:
    """Return two conditions that together select the runs without rows. Each has an index, and both at once have none."""
    halves = []
    for half in (Job.end.is_(None), Job.end >= scope.start):
        # With a limit SQLite looks for rows first, and at the jobs only where it found none.
        none = select(Job.id).where(half, ~exists().where(JobDay.job_id == Job.id, scope.days())).limit(FOREVER)
        halves.append(and_(Job.id.in_(select(none.subquery().c.id)), scope.overlapping()))
    return halves


def _kinds(scope: Scope) -> Select[Any]:
    """Return the query for the number and energy of runs by association and kind, and for what they held. The two are one
    number, which sorts fastest.

    A run that must be looked at by itself has its negative id instead.
    """
    kind = sum((4**place * _component(c) for place, c in enumerate(COMPONENTS)), start=literal(0))
    found = _runs(scope, {"kind": kind, **OF_DAY}, _kind_and_sums)
    run = found.c
    odd = or_(run.first != run.last, run.first < 0, Job.unmetered_us > 0, Job.unmetered_nodes > 0)
    key = case((odd, -Job.id), else_=Job.association_id * KINDS + run.first).label("key")
    sums = (func.count(), func.sum(scope.node_seconds()), *sums_of(scope, run))
    query = select(key, TRES.label("tres"), *sums).join_from(Job, found, run.job_id == Job.id)
    return query.where(_ran(scope, run.high)).group_by("key", "tres")


def _kind_and_sums(day: Any) -> dict[str, ColumnElement[Any]]:
    """Return the least and the greatest kind of a run's days, and the sums of what it used."""
    return {"first": func.min(day.kind), "last": func.max(day.kind), **of_run(day)}


def _runs(
    scope: Scope, of_day: Mapping[str, Any], of_run: Callable[[Any], Mapping[str, ColumnElement[Any]]]
) -> Subquery:
    """Return a query with a row for each run that has rows: `of_run` of its days, which have the columns `of_day`."""
    # A limit keeps SQLite from sorting whole rows of the table, and computing all of this for each of them twice.
    days = select(JobDay.job_id, *(value.label(name) for name, value in of_day.items())).where(scope.days())
    day = days.limit(FOREVER).subquery().c
    sums = (value.label(name) for name, value in of_run(day).items())
    return select(day.job_id, *sums).group_by(day.job_id).subquery()


def _ranked(used: ColumnElement[int], *over: Any) -> Select[Any]:
    """Return a query for runs with their places in their association, and functions over all runs of the association."""
    by = Job.association_id + 0  # in this form no index is taken for it, which would read the jobs one here, one there
    place = func.row_number().over(partition_by=by, order_by=(used.desc(), Job.id))
    columns = (Job.association_id.label("association"), used.label("used"), Job.id, place.label("place"))
    return select(*columns, *(each.over(partition_by=by) for each in over))


def _first(ranked: Select[Any], most: int) -> Select[Any]:
    runs = ranked.subquery().c
    return select(*runs).where(runs.place <= most)


def _ran(scope: Scope, known: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition for runs that have energy in the period, or ran in it."""
    return or_(known.is_not(None), scope.overlapping())


def _component(c: str) -> ColumnElement[int]:
    uj, metered_us, alloc_us, method = (
        getattr(JobDay, f"{c}_{kind}") for kind in ("uj", "metered_us", "alloc_us", "method")
    )
    return case(
        (method.is_(None), ABSENT),
        (and_(method.in_(COUNTED), uj.is_not(None), metered_us == alloc_us, alloc_us > 0), WHOLE),
        (and_(method == "missing", uj.is_(None), alloc_us > 0), MISSING),
        (and_(method == "modelled", uj.is_(None), alloc_us > 0), MODELLED),
        else_=OTHERWISE,
    )


@lru_cache
def _verdict(kind: int) -> Verdict:
    """Return the verdict on runs whose days are all of one kind."""
    digits = {c: kind // 4**place % 4 for place, c in enumerate(COMPONENTS)}
    return judge({c: _state(digit) for c, digit in digits.items() if digit != ABSENT}, 0, 0)


def _state(digit: int) -> ComponentState:
    return ComponentState(0 if digit == WHOLE else None, int(digit == WHOLE), 1, _METHODS[digit])


_METHODS = {WHOLE: "counter", MISSING: "missing", MODELLED: "modelled"}


def emissions(session: Session, scope: Scope) -> list[tuple[str, float | None]]:
    """Return the ids of factor sources, separated by commas, and the mean PUE that were applied on days of runs with
    energy.
    """
    pue = JobDay.pue_weight / func.nullif(_USED_UJ, 0)
    query = select(JobDay.sources, pue).where(scope.days(), _KNOWN_UJ.is_not(None)).distinct()
    return [(sources, None if pue is None else float(pue)) for sources, pue in ask(session, query, {})]
