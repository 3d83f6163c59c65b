# SPDX-License-Identifier: MIT
"""What the nodes did not deliver: nodes that are silent, and records that a full spool made them drop.

Silent nodes are found from Slurm's list of nodes and the newest slots, without reading all that was delivered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.models import Cluster, Dropped, Node, NodeSlot
from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import DAY_S


@dataclass(frozen=True)
class DroppedTotal:
    """The records that nodes dropped because their spools were full, and at most the energy that their meters had
    counted of them.
    """

    nodes: int
    records: int
    energy_uj: int


@dataclass(frozen=True)
class Silent:
    """The names of Slurm's nodes that never delivered, and of those without a slot in the last day. Sorted."""

    never: list[str]
    day: list[str]


def silent(session: Session, cluster: str, nodes: Iterable[str], now: int) -> Silent:
    """Return the nodes of a cluster from which nothing arrives."""
    query = select(Node.id, Node.name).join(Cluster, Cluster.id == Node.cluster_id).where(Cluster.name == cluster)
    known = {name: node_id for node_id, name in session.execute(query)}
    recent = set(session.scalars(select(NodeSlot.node_id).where(NodeSlot.slot > now - DAY_S).distinct()))
    never = sorted(name for name in nodes if name not in known)
    return Silent(never, sorted(name for name in nodes if name in known and known[name] not in recent))


def dropped_total(session: Session) -> DroppedTotal:
    """Return the sum of what each node has dropped so far, over all nodes."""
    sums = [part for name in COMPONENTS for part in exact_parts(getattr(Dropped, f"{name}_uj"))]
    query = select(func.count(Dropped.node_id.distinct()), func.sum(Dropped.records), *sums)
    nodes, records, *parts = session.execute(query).one()
    energies = [exact_whole(parts[i : i + 2]) or 0 for i in range(0, len(parts), 2)]
    return DroppedTotal(int(nodes), int(records or 0), sum(energies))


def last_slot(session: Session) -> int | None:
    """Return the newest slot that any node delivered."""
    return session.execute(select(func.max(NodeSlot.slot))).scalar_one()
