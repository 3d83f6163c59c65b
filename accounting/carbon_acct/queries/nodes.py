# SPDX-License-Identifier: MIT
"""Nodes from which nothing comes: found by what Slurm has and what was delivered, without reading all of that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Cluster, Node, NodeSlot

DAY_S = 86_400


@dataclass(frozen=True)
class Silent:
    """Names of Slurm's nodes: those that never delivered, and those without a slot in the last day. Sorted."""

    never: list[str]
    day: list[str]


def silent(session: Session, cluster: str, nodes: Iterable[str], now: int) -> Silent:
    """Of Slurm's nodes of a cluster, those from which nothing comes."""
    query = select(Node.id, Node.name).join(Cluster, Cluster.id == Node.cluster_id).where(Cluster.name == cluster)
    known = {name: node_id for node_id, name in session.execute(query)}
    recent = set(session.scalars(select(NodeSlot.node_id).where(NodeSlot.slot > now - DAY_S).distinct()))
    never = sorted(name for name in nodes if name not in known)
    return Silent(never, sorted(name for name in nodes if name in known and known[name] not in recent))


def last_slot(session: Session) -> int | None:
    """The newest slot that any node told of."""
    return session.execute(select(func.max(NodeSlot.slot))).scalar_one()
