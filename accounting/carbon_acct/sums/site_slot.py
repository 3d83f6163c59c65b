# SPDX-License-Identifier: MIT
"""Updates the sums of a cluster's nodes, slot by slot: what their meters counted, and where that energy went.

Metered, idle and system energy come from the nodes' rows, the jobs' energy from the jobs' rows. These are two
independent ways, so their difference shows whether anything is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.db.large_sums import add_large, is_large
from carbon_acct.db.models import Ledger, Node, NodeJobSlot, NodeSlot, SiteSlot
from carbon_acct.db.rows import IDS, ask_ids, table_of
from carbon_collector.meters.base import COMPONENTS

ZERO: dict[str, int] = dict.fromkeys(
    (
        *("elapsed_us", "simulated_nodes"),
        *(f"{c}_{kind}" for c in COMPONENTS for kind in ("uj", "jobs_uj", "idle_uj", "system_uj", "nodes")),
    ),
    0,
)
NODE_COLUMNS = (
    *("slot", "elapsed_us", "simulated"),
    *(f"{c}_{kind}" for c in COMPONENTS for kind in ("uj", "idle_uj", "system_uj")),
)
JOB_COLUMNS = ("slot", *(f"{c}_uj" for c in COMPONENTS))

_JOBS = tuple((f"{c}_uj", f"{c}_jobs_uj") for c in COMPONENTS)

Change = tuple[Mapping[str, Any], int]
"""A row, and 1 if it was added or -1 if it was removed."""


def change(session: Session, cluster_id: int, nodes: Iterable[Change], jobs: Iterable[Change]) -> None:
    """Update the sums for rows of nodes, and of jobs on nodes, that were added or removed. A replaced row is both."""
    sums: dict[int, dict[str, int]] = defaultdict(lambda: dict(ZERO))
    for row, sign in nodes:
        _add_node(sums[row["slot"]], row, sign)
    for row, sign in jobs:
        into = sums[row["slot"]]
        for uj, jobs_uj in _JOBS:
            into[jobs_uj] += sign * (row[uj] or 0)
    rows = [{"cluster_id": cluster_id, "slot": slot, **values} for slot, values in sums.items() if any(values.values())]
    large = ask_ids(session, _LARGE, sums, cluster=cluster_id)
    add_large(session, table_of(SiteSlot), rows, {(cluster_id, slot) for (slot,) in large})


_LARGE = select(SiteSlot.slot).where(
    SiteSlot.cluster_id == bindparam("cluster"), SiteSlot.slot.in_(IDS), is_large(table_of(SiteSlot))
)


def _add_node(into: dict[str, int], row: Mapping[str, Any], sign: int) -> None:
    into["elapsed_us"] += sign * row["elapsed_us"]
    into["simulated_nodes"] += sign * bool(row["simulated"])
    for c in COMPONENTS:
        into[f"{c}_nodes"] += sign * (row[f"{c}_uj"] is not None)
        for kind in ("uj", "idle_uj", "system_uj"):
            into[f"{c}_{kind}"] += sign * (row[f"{c}_{kind}"] or 0)


def rebuild(session: Session) -> None:
    """Add up all rows into the table, which is empty."""
    nodes = select(Node.cluster_id, *(getattr(NodeSlot, name) for name in NODE_COLUMNS))
    jobs = select(Ledger.cluster_id, *(getattr(NodeJobSlot, name) for name in JOB_COLUMNS))
    changes: dict[int, tuple[list[Change], list[Change]]] = defaultdict(lambda: ([], []))
    for row in session.execute(nodes.join(Node, Node.id == NodeSlot.node_id)).mappings():
        changes[row["cluster_id"]][0].append((dict(row), 1))
    for row in session.execute(jobs.join(Ledger, Ledger.id == NodeJobSlot.ledger_id)).mappings():
        changes[row["cluster_id"]][1].append((dict(row), 1))
    for cluster, rows in changes.items():
        change(session, cluster, *rows)
