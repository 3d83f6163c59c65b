# SPDX-License-Identifier: MIT
"""Counts the changes that nodes deliver for closed months. The reports of such a month were already made.

The rows themselves are stored by `store`, as any others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from carbon_acct.days import Days
from carbon_acct.db.models import Cluster, LateChange, Node
from carbon_acct.db.rows import add_rows, table_of
from carbon_acct.delivery.ceilings import Addition
from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import DAY_S

CLOSED_AFTER_S = 3 * DAY_S
"""The seconds after its end at which a month counts as closed: by then delayed deliveries have arrived."""


def note(session: Session, additions: Iterable[Addition], days: Days, now: int) -> None:
    """Count the rows of slots in closed months, by node and month."""
    open_from = month_of(now - CLOSED_AFTER_S, days)
    changes: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for one in additions:
        if one.slot < open_from:
            change = changes[one.node, month_of(one.slot, days)]
            change[0] += 1
            change[1] += _energy_uj(one.now) - _energy_uj(one.before or {})
    if not changes:
        return
    table = table_of(LateChange)
    names = ("node_id", "month", "jobs", "energy_uj", "changed_at")
    add_rows(session, table, [dict(zip(names, (*key, *change, 0), strict=True)) for key, change in changes.items()])
    for month in {month for _, month in changes}:
        nodes = [node for node, of in changes if of == month]
        changed = update(table).where(table.c.month == month, table.c.node_id.in_(nodes))
        session.execute(changed.values(changed_at=now))


def month_of(epoch: int, days: Days) -> int:
    """Return the first second of the month that an instant lies in, of the site's time zone."""
    local = datetime.fromtimestamp(epoch, days.zone)
    return int(datetime(local.year, local.month, 1, tzinfo=days.zone).timestamp())


def _energy_uj(row: Any) -> int:
    return sum(row.get(f"{c}_uj") or 0 for c in COMPONENTS)


class Late(NamedTuple):
    """The changes that a node delivered for a closed month."""

    cluster: str
    node: str
    month: int
    rows: int
    energy_uj: int
    changed_at: int


def late_changes(session: Session, start: int = 0, end: int = 2**62) -> list[Late]:
    """Return the changes of closed months that begin in [start, end), the greatest of each month first."""
    late = table_of(LateChange).columns
    query = select(Cluster.name, Node.name, late.month, late.jobs, late.energy_uj, late.changed_at)
    query = query.join(Node, Node.id == late.node_id).join(Cluster, Cluster.id == Node.cluster_id)
    found = [Late(*row) for row in session.execute(query.where(late.month >= start, late.month < end))]
    return sorted(found, key=lambda one: (one.month, -abs(one.energy_uj), one.node))
