# SPDX-License-Identifier: MIT
"""Totals of the site: the conservation of energy, the sums of users and accounts by day, and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.large_sums import known
from carbon_acct.db.models import Association, Cluster, DaySum, Job, Ledger, Node, Segment, SiteSlot
from carbon_acct.known import sum_known
from carbon_acct.window import Window
from carbon_collector.meters.base import COMPONENTS


@dataclass(frozen=True)
class Balance:
    """What the meters counted, and where it went. `difference_uj` is 0, or something is wrong."""

    metered_uj: int
    jobs_uj: int
    idle_uj: int
    system_uj: int

    @property
    def difference_uj(self) -> int:
        """Return metered energy less everything that it was given to."""
        return self.metered_uj - self.jobs_uj - self.idle_uj - self.system_uj


@dataclass(frozen=True)
class Conservation:
    """The balance of each component that any node metered, and whether simulated counters had a part in it."""

    components: dict[str, Balance]
    simulated: bool

    @property
    def total(self) -> Balance:
        """Return the balance of all components together."""
        all_of = list(self.components.values())
        return Balance(
            sum(b.metered_uj for b in all_of),
            sum(b.jobs_uj for b in all_of),
            sum(b.idle_uj for b in all_of),
            sum(b.system_uj for b in all_of),
        )


DAY_AMOUNTS = ("energy_uj", "estimated_uj", "facility_uj", "carbon_ug", "market_ug", "embodied_ug")


@dataclass(frozen=True)
class DayTotal:
    """The sums of a user's jobs in an account in one day of the site, named by its first second. None means not known."""

    start: int
    cluster: str
    uid: int | None
    user: str | None
    account: str | None
    jobs: int
    simulated: bool
    energy_uj: int | None
    estimated_uj: int | None
    facility_uj: int | None
    carbon_ug: int | None
    market_ug: int | None
    embodied_ug: int | None


@dataclass(frozen=True)
class Counts:
    """The numbers of rows that the database holds."""

    jobs: int
    nodes: int
    segments: int
    unmatched: int


def conservation(session: Session, start: int | None = None, end: int | None = None) -> Conservation:
    """Return the balance over the slots that begin in [start, end), as delivered by the nodes."""
    window = Window(start, end)
    kinds = ("uj", "jobs_uj", "idle_uj", "system_uj", "nodes")
    columns = [part for c in COMPONENTS for kind in kinds for part in exact_parts(getattr(SiteSlot, f"{c}_{kind}"))]
    query = select(func.sum(SiteSlot.simulated_nodes), *columns)
    simulated, *sums = session.execute(_within(query, SiteSlot.slot, window)).one()
    components = {}
    for at, name in enumerate(COMPONENTS):
        here = sums[10 * at : 10 * at + 10]
        metered, jobs, idle, system, nodes = (exact_whole(here[i : i + 2]) or 0 for i in range(0, 10, 2))
        if nodes or jobs:
            components[name] = Balance(metered, jobs, idle, system)
    return Conservation(components, bool(simulated))


def days(session: Session, start: int, end: int) -> list[DayTotal]:
    """Return the sums of each of the site's days that begin in [start, end), sorted by day, cluster, account and user."""
    # The database groups by two integers, in the order of its key; by names it would sort every row.
    sums = [part for name in DAY_AMOUNTS for part in exact_parts(_known(name))]
    query = select(DaySum.association_id, DaySum.day, func.sum(DaySum.jobs), func.sum(DaySum.simulated_jobs), *sums)
    query = query.where(DaySum.day >= start, DaySum.day < end).group_by(DaySum.association_id, DaySum.day)
    whose = _whose(session)
    found: dict[tuple[Any, ...], list[Any]] = {}
    for association, day, jobs, simulated, *parts in session.execute(query):
        key = (day, *whose[association])
        amounts = [exact_whole(parts[at : at + 2]) for at in range(0, len(parts), 2)]
        before = found.get(key)
        if before is None:
            found[key] = [int(jobs), int(simulated), *amounts]
        else:  # the same account in another partition or QOS
            before[:2] = before[0] + int(jobs), before[1] + int(simulated)
            before[2:] = [sum_known(pair) for pair in zip(before[2:], amounts, strict=True)]
    rows = [_day_total(*key, *values) for key, values in found.items()]
    return sorted(rows, key=lambda day: (day.start, day.cluster, day.account or "", day.user or "", day.uid or 0))


def _day_total(*values: Any) -> DayTotal:
    """Return a row of its values in their order, of which the seventh is a number of simulated jobs."""
    row = list(values)
    row[6] = bool(row[6])
    return DayTotal(*row)


def _whose(session: Session) -> dict[int, tuple[str, int | None, str | None, str | None]]:
    """Return cluster, uid, user and account of each association."""
    columns = (Association.id, Cluster.name, Association.uid, Association.user, Association.account)
    query = select(*columns).join(Cluster, Cluster.id == Association.cluster_id)
    return {key: (cluster, uid, user, account) for key, cluster, uid, user, account in session.execute(query)}


def _known(name: str) -> Any:
    """Return a column that is NULL where no job has a figure."""
    return known(getattr(DaySum, f"{name}_jobs"), getattr(DaySum, name))


def counts(session: Session) -> Counts:
    """Return the numbers of rows."""

    def count(query: Select[Any]) -> int:
        return int(session.execute(query).scalar_one())

    return Counts(
        jobs=count(select(func.count()).select_from(Job)),
        nodes=count(select(func.count()).select_from(Node)),
        segments=count(select(func.count()).select_from(Segment)),
        unmatched=count(select(func.count()).select_from(Ledger).where(Ledger.matched_id.is_(None))),
    )


def _within(query: Any, slot: Any, window: Window) -> Any:
    return query.where(slot >= window.low, slot < window.high)
