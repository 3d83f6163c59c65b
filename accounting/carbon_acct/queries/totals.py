# SPDX-License-Identifier: MIT
"""Totals of the site: the conservation of energy, and what users and accounts had, day by day.

A sum over a site can exceed 64 bits (2.5 GWh of microjoules), and SQLite's SUM then fails; so quotients and
remainders by a million are summed apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import (
    COMPONENTS,
    Association,
    Cluster,
    DaySum,
    Dropped,
    Job,
    Ledger,
    Node,
    NodeJobSlot,
    Segment,
    SiteSlot,
)
from carbon_acct.sums.shares import add
from carbon_acct.window import Window

SPLIT = 1_000_000

KNOWN_AFTER_S = 3600
"""A job that ended so long ago Slurm has been asked about by name (poll.py), more than once."""


@dataclass(frozen=True)
class Balance:
    """What the meters counted, and where it went. `difference_uj` is 0, or something is wrong."""

    metered_uj: int
    jobs_uj: int
    idle_uj: int
    system_uj: int

    @property
    def difference_uj(self) -> int:
        """Metered less everything that it was given to."""
        return self.metered_uj - self.jobs_uj - self.idle_uj - self.system_uj


@dataclass(frozen=True)
class Conservation:
    """The balance of each component that any node metered, and whether simulated counters had a part in it."""

    components: dict[str, Balance]
    simulated: bool

    @property
    def total(self) -> Balance:
        """The balance of all components together."""
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
    """What a user's jobs in an account had in one day of the site, by its first second. None: not known."""

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
    """How much of everything the database holds."""

    jobs: int
    nodes: int
    segments: int
    unmatched: int


@dataclass(frozen=True)
class Losses:
    """What nodes had to drop because their spools were full, and what their meters had counted of it, at most."""

    nodes: int
    records: int
    energy_uj: int


@dataclass(frozen=True)
class UnmatchedLedger:
    """A ledger for which Slurm has no run of the job, with the energy that hangs on it."""

    cluster: str
    node: str
    job_id: int
    run: str
    opened: int
    closed: int | None
    user: str | None
    account: str | None
    energy_uj: int | None
    why: str
    """`waiting`: Slurm may tell yet. `purged`: it may have forgotten. `never knew`: it was asked and does not know."""


def conservation(session: Session, start: int | None = None, end: int | None = None) -> Conservation:
    """The balance over the slots that begin in [start, end), as delivered by the nodes."""
    window = Window(start, end)
    kinds = ("uj", "jobs_uj", "idle_uj", "system_uj", "nodes")
    columns = [part for c in COMPONENTS for kind in kinds for part in _split(getattr(SiteSlot, f"{c}_{kind}"))]
    query = select(func.sum(SiteSlot.simulated_nodes), *columns)
    simulated, *sums = session.execute(_within(query, SiteSlot.slot, window)).one()
    components = {}
    for at, name in enumerate(COMPONENTS):
        here = sums[10 * at : 10 * at + 10]
        metered, jobs, idle, system, nodes = (_joined(here[i : i + 2]) or 0 for i in range(0, 10, 2))
        if nodes or jobs:
            components[name] = Balance(metered, jobs, idle, system)
    return Conservation(components, bool(simulated))


def days(session: Session, start: int, end: int) -> list[DayTotal]:
    """Sums of each of the site's days that begin in [start, end), by cluster, account, user; sorted so."""
    who = (DaySum.day, Cluster.name, Association.uid, Association.user, Association.account)
    sums = [part for name in DAY_AMOUNTS for part in _split(_known(name))]
    query = select(*who, func.sum(DaySum.jobs), func.sum(DaySum.simulated_jobs), *sums)
    query = query.join(Association, Association.id == DaySum.association_id)
    query = query.join(Cluster, Cluster.id == Association.cluster_id).group_by(*who)
    found = session.execute(query.where(DaySum.day >= start, DaySum.day < end))
    rows = [_day_total(*row) for row in found]
    return sorted(rows, key=lambda day: (day.start, day.cluster, day.account or "", day.user or "", day.uid or 0))


def _day_total(
    start: int,
    cluster: str,
    uid: int | None,
    user: str | None,
    account: str | None,
    jobs: Any,
    simulated: Any,
    *sums: Any,
) -> DayTotal:
    amounts = [_joined(sums[at : at + 2]) for at in range(0, len(sums), 2)]
    return DayTotal(start, cluster, uid, user, account, int(jobs), bool(simulated), *amounts)


def _known(name: str) -> Any:
    """NULL where no job has a figure."""
    return case((getattr(DaySum, f"{name}_jobs") > 0, getattr(DaySum, name)))


def counts(session: Session) -> Counts:
    """How much of everything there is."""

    def count(query: Select[Any]) -> int:
        return int(session.execute(query).scalar_one())

    return Counts(
        jobs=count(select(func.count()).select_from(Job)),
        nodes=count(select(func.count()).select_from(Node)),
        segments=count(select(func.count()).select_from(Segment)),
        unmatched=count(select(func.count()).select_from(Ledger).where(Ledger.matched_id.is_(None))),
    )


def losses(session: Session) -> Losses:
    """Of all nodes; each tells its own."""
    sums = [part for name in COMPONENTS for part in _split(getattr(Dropped, f"{name}_uj"))]
    query = select(func.count(Dropped.node_id.distinct()), func.sum(Dropped.records), *sums)
    nodes, records, *parts = session.execute(query).one()
    energies = [_joined(parts[i : i + 2]) or 0 for i in range(0, len(parts), 2)]
    return Losses(int(nodes), int(records or 0), sum(energies))


def unmatched(session: Session, purged_before: int = 0) -> list[UnmatchedLedger]:
    """Ledgers without a run of a job, oldest first. `purged_before`: jobs of before then Slurm may have purged."""
    energies = [part for name in COMPONENTS for part in _split(getattr(NodeJobSlot, f"{name}_uj"))]
    query = (
        select(Cluster.name, Cluster.polled_until, Node.name, Ledger, *energies)
        .join(Node, Node.id == Ledger.node_id)
        .join(Cluster, Cluster.id == Ledger.cluster_id)
        .outerjoin(NodeJobSlot, NodeJobSlot.ledger_id == Ledger.id)
        .where(Ledger.matched_id.is_(None))
        .group_by(Cluster.name, Cluster.polled_until, Node.name, *Ledger.__table__.columns)
        .order_by(Ledger.opened, Node.name, Ledger.job_id)
    )
    return [
        UnmatchedLedger(
            cluster=cluster,
            node=node,
            job_id=ledger.job_id,
            run=ledger.run,
            opened=ledger.opened,
            closed=ledger.closed,
            user=ledger.user,
            account=ledger.account,
            energy_uj=add(_joined(sums[i : i + 2]) for i in range(0, len(sums), 2)),
            why=_why(ledger, polled_until, purged_before),
        )
        for cluster, polled_until, node, ledger, *sums in session.execute(query)
    ]


def _why(ledger: Ledger, polled_until: int | None, purged_before: int) -> str:
    last = ledger.closed if ledger.closed is not None else ledger.opened
    if last < purged_before:
        return "purged"
    return "waiting" if polled_until is None or last > polled_until - KNOWN_AFTER_S else "never knew"


def _split(column: Any) -> list[Any]:
    return [func.sum(column // SPLIT), func.sum(column % SPLIT)]


def _joined(pair: Sequence[Any]) -> int | None:
    high, low = pair
    return None if high is None else int(high) * SPLIT + int(low)


def _within(query: Any, slot: Any, window: Window) -> Any:
    return query.where(slot >= window.low, slot < window.high)
