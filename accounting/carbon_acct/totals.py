# SPDX-License-Identifier: MIT
"""Totals of the site: the conservation of energy, and what users and accounts had, day by day.

A sum over a site can exceed 64 bits (2.5 GWh of microjoules), and SQLite's SUM then fails; so quotients and
remainders by a million are summed apart.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, Select, cast, func, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import (
    COMPONENTS,
    Cluster,
    Dropped,
    Job,
    JobSlot,
    Ledger,
    Node,
    NodeJobSlot,
    NodeSlot,
    Segment,
)
from carbon_acct.pricing import facility_uj
from carbon_acct.slotsum import add
from carbon_acct.window import Window
from carbon_collector.units import SLOT_S

SPLIT = 1_000_000


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


@dataclass(frozen=True)
class DaySum:
    """What a user's jobs in an account had in one day (or any other stretch of time, [start, end))."""

    start: int
    end: int
    cluster: str
    user: str | None
    account: str | None
    jobs: int
    energy_uj: int | None
    estimated_uj: int | None
    facility_uj: int | None
    carbon_ug: int | None
    simulated: bool


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


def conservation(session: Session, start: int | None = None, end: int | None = None) -> Conservation:
    """The balance over the slots that begin in [start, end), as delivered by the nodes."""
    window = Window(start, end)
    node_columns = [c for name in COMPONENTS for c in _node_columns(name)]
    node_query = select(func.max(cast(NodeSlot.simulated, Integer)), *node_columns)
    node = session.execute(_within(node_query, NodeSlot.slot, window)).one()
    job_columns = [c for name in COMPONENTS for c in _split(getattr(NodeJobSlot, f"{name}_uj"))]
    job = session.execute(_within(select(*job_columns), NodeJobSlot.slot, window)).one()
    components = {}
    for at, name in enumerate(COMPONENTS):
        metered, idle, system = (_joined(node[1 + 6 * at + 2 * i : 3 + 6 * at + 2 * i]) for i in range(3))
        jobs = _joined(job[2 * at : 2 * at + 2])
        if metered is not None or jobs is not None:
            components[name] = Balance(metered or 0, jobs or 0, idle or 0, system or 0)
    return Conservation(components, bool(node[0]))


def days(session: Session, borders: Sequence[int]) -> list[DaySum]:
    """Sums for each stretch between two borders (epoch seconds, multiples of 15 minutes), user and account.

    A day of any time zone begins at a multiple of 15 minutes. Sorted by time, cluster, account, user.
    """
    if any(border % SLOT_S for border in borders):
        raise ValueError("a day begins and ends at a multiple of 15 minutes")
    return [day for start, end in itertools.pairwise(borders) for day in _one_day(session, Window(start, end))]


def _one_day(session: Session, window: Window) -> list[DaySum]:
    who = (Cluster.name, Job.account, Job.user)
    totals = [*_split(JobSlot.energy_uj), *_split(JobSlot.estimated_uj), *_split(JobSlot.carbon_ug)]
    simulated = func.max(cast(JobSlot.simulated, Integer))
    query = select(*who, JobSlot.pue, simulated, *totals).join(Job, Job.id == JobSlot.job_id)
    query = query.join(Cluster, Cluster.id == Job.cluster_id).group_by(*who, JobSlot.pue)
    by_who: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for row in session.execute(_within(query, JobSlot.slot, window)):
        by_who[tuple(row[:3])].append(row)
    counts = select(*who, func.count(JobSlot.job_id.distinct())).join(Job, Job.id == JobSlot.job_id)
    counts = counts.join(Cluster, Cluster.id == Job.cluster_id).group_by(*who)
    jobs = {tuple(row[:3]): row[3] for row in session.execute(_within(counts, JobSlot.slot, window))}
    order = sorted(by_who, key=lambda key: tuple(str(part or "") for part in key))
    return [_day_sum(window, key, jobs[key], by_who[key]) for key in order]


def _day_sum(window: Window, key: tuple[Any, ...], jobs: int, rows: Sequence[Any]) -> DaySum:
    energies = [(_joined(row[5:7]), _joined(row[7:9]), row[3]) for row in rows]
    parts = [((energy or 0) + (estimated or 0), pue) for energy, estimated, pue in energies]
    known = any(energy is not None or estimated is not None for energy, estimated, _ in energies)
    return DaySum(
        start=window.low,
        end=window.high,
        cluster=key[0],
        account=key[1],
        user=key[2],
        jobs=jobs,
        energy_uj=add(energy for energy, _, _ in energies),
        estimated_uj=add(estimated for _, estimated, _ in energies),
        facility_uj=facility_uj(parts) if known else None,
        carbon_ug=add(_joined(row[9:11]) for row in rows),
        simulated=any(row[4] for row in rows),
    )


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


def unmatched(session: Session) -> list[UnmatchedLedger]:
    """Ledgers without a run of a job, oldest first."""
    energies = [part for name in COMPONENTS for part in _split(getattr(NodeJobSlot, f"{name}_uj"))]
    query = (
        select(Cluster.name, Node.name, Ledger, *energies)
        .join(Node, Node.id == Ledger.node_id)
        .join(Cluster, Cluster.id == Ledger.cluster_id)
        .outerjoin(NodeJobSlot, NodeJobSlot.ledger_id == Ledger.id)
        .where(Ledger.matched_id.is_(None))
        .group_by(Cluster.name, Node.name, *Ledger.__table__.columns)
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
        )
        for cluster, node, ledger, *sums in session.execute(query)
    ]


def _node_columns(name: str) -> list[Any]:
    return [column for kind in ("uj", "idle_uj", "system_uj") for column in _split(getattr(NodeSlot, f"{name}_{kind}"))]


def _split(column: Any) -> list[Any]:
    return [func.sum(column // SPLIT), func.sum(column % SPLIT)]


def _joined(pair: Sequence[Any]) -> int | None:
    high, low = pair
    return None if high is None else int(high) * SPLIT + int(low)


def _within(query: Any, slot: Any, window: Window) -> Any:
    return query.where(slot >= window.low, slot < window.high)
