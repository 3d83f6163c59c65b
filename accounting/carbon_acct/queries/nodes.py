# SPDX-License-Identifier: MIT
"""What the nodes did not deliver: nodes that are silent, and records that a full spool made them drop.

Silent nodes are found from Slurm's list of nodes and the newest slots, without reading all that was delivered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.models import Cluster, Dropped, Node, NodeSlot
from carbon_acct.estimates.arithmetic import CEILING_WATTS, CLOCK_SLACK_S
from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import DAY_S, SLOT_S, US_PER_S

MOST_OF_SLOT = {c: CEILING_WATTS[c] * 2 * SLOT_S * US_PER_S for c in COMPONENTS}
"""The microjoules that no node's meters count in one slot, which a stepped clock may make twice as long."""
MOST_RECORDS = 100_000
"""The number of records that no node has in one slot."""
LONGEST_SLOTS = 366 * DAY_S // SLOT_S
"""The number of slots of which a loss is believed at most: no spool waits for longer than a year."""


@dataclass(frozen=True)
class Loss:
    """Dropped records, and at most the energy in microjoules that the meters had counted of them."""

    records: int = 0
    energy_uj: int = 0

    def plus(self, other: Loss) -> Loss:
        """Return the sum of both."""
        return Loss(self.records + other.records, self.energy_uj + other.energy_uj)


@dataclass(frozen=True)
class DroppedTotal:
    """What nodes dropped because their spools were full. `apart` is what they say they lost and cannot have had."""

    nodes: int
    lost: Loss
    apart: Loss


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


def dropped_total(session: Session, now: int) -> DroppedTotal:
    """Return the sum of what each node has dropped so far, over all nodes.

    A node's root can write any number. Its word is believed where one node can have had as much in that time: each
    record by itself, and all streams of a node together. The rest is kept apart. `now` is in epoch seconds.
    """
    names = ("node_id", "records", "start", "end", *(f"{c}_uj" for c in COMPONENTS))
    told = select(*(getattr(Dropped, name) for name in names), _fits(now).label("fits")).subquery().columns
    sums = [part for c in COMPONENTS for part in exact_parts(told[f"{c}_uj"])]
    query = select(told.fits, func.sum(told.records), func.min(told.start), func.max(told.end), *sums)
    nodes, lost, apart = 0, Loss(), Loss()
    for is_fitting, records, start, end, *parts in session.execute(query.group_by(told.node_id, told.fits)):
        energies = [exact_whole(parts[i : i + 2]) or 0 for i in range(0, len(parts), 2)]
        loss = Loss(int(records), sum(energies))
        if is_fitting and _are_of_one_node(dict(zip(COMPONENTS, energies, strict=True)), int(end) - int(start)):
            nodes, lost = nodes + 1, lost.plus(loss)
        else:
            apart = apart.plus(loss)
    return DroppedTotal(nodes, lost, apart)


def _fits(now: int) -> ColumnElement[bool]:
    """Return the condition under which one record of losses can be true. Whole numbers of the slots' ceilings are
    compared, since the ceilings of many slots exceed 64 bits.
    """
    slots = (Dropped.end - Dropped.start) // SLOT_S
    whole = [func.coalesce(getattr(Dropped, f"{c}_uj"), 0) // MOST_OF_SLOT[c] for c in COMPONENTS]
    return and_(
        Dropped.start <= Dropped.end,
        Dropped.end <= now + CLOCK_SLACK_S,
        Dropped.records // MOST_RECORDS <= slots,
        *(many <= slots for many in whole),
        *(many <= LONGEST_SLOTS for many in whole),
    )


def _are_of_one_node(energy_uj: Mapping[str, int], seconds: int) -> bool:
    slots = min(seconds // SLOT_S, LONGEST_SLOTS) + 1
    return all(uj <= MOST_OF_SLOT[name] * slots for name, uj in energy_uj.items())


def last_slot(session: Session) -> int | None:
    """Return the newest slot that any node delivered."""
    return session.execute(select(func.max(NodeSlot.slot))).scalar_one()
