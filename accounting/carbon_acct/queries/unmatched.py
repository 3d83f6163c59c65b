# SPDX-License-Identifier: MIT
"""Lists the ledgers for which Slurm has no run of a job, with their energy and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.models import Cluster, Ledger, Node, NodeJobSlot
from carbon_acct.db.rows import IDS, ask_ids
from carbon_acct.known import sum_known
from carbon_collector.meters.base import COMPONENTS

KNOWN_AFTER_S = 3600
"""The seconds after a job's end by which Slurm has been asked about it by JobID more than once (sync/slurm.py)."""


@dataclass(frozen=True)
class UnmatchedLedger:
    """A ledger for which Slurm has no run of the job, and the energy that depends on it."""

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
    """`waiting`: Slurm may report it yet. `purged`: Slurm may have deleted it. `never knew`: Slurm was asked and does
    not know it.
    """


def unmatched_ledgers(session: Session, purged_before: int = 0) -> list[UnmatchedLedger]:
    """Return all ledgers without a run of a job. `purged_before`: jobs of before then Slurm may have purged."""
    return unmatched_page(session, purged_before, 0, None)[0]


def unmatched_page(
    session: Session, purged_before: int, after: int, most: int | None
) -> tuple[list[UnmatchedLedger], int | None]:
    """Return at most so many ledgers without a run of a job, in the order in which they came, and where the rest begins.

    `purged_before`: jobs of before then Slurm may have purged. The second is the `after` of the next page; None: there
    is none.
    """
    query = (
        select(Cluster.name, Cluster.polled_until, Node.name, Ledger)
        .join(Node, Node.id == Ledger.node_id)
        .join(Cluster, Cluster.id == Ledger.cluster_id)
        .where(Ledger.matched_id.is_(None), Ledger.id > after)
        .order_by(Ledger.id)
    )
    rows = session.execute(query if most is None else query.limit(most + 1)).all()
    shown = rows if most is None else rows[:most]
    energies = {row[0]: row[1:] for row in ask_ids(session, _ENERGIES, [ledger.id for *_, ledger in shown])}
    found = [
        UnmatchedLedger(
            cluster=cluster,
            node=node,
            job_id=ledger.job_id,
            run=ledger.run,
            opened=ledger.opened,
            closed=ledger.closed,
            user=ledger.user,
            account=ledger.account,
            energy_uj=_energy_uj(energies.get(ledger.id, ())),
            why=_why(ledger, polled_until, purged_before),
        )
        for cluster, polled_until, node, ledger in shown
    ]
    return found, shown[-1][3].id if len(rows) > len(shown) else None


_ENERGIES = (
    select(NodeJobSlot.ledger_id, *(p for name in COMPONENTS for p in exact_parts(getattr(NodeJobSlot, f"{name}_uj"))))
    .where(NodeJobSlot.ledger_id.in_(IDS))
    .group_by(NodeJobSlot.ledger_id)
)


def _energy_uj(sums: Sequence[Any]) -> int | None:
    return sum_known(exact_whole(sums[i : i + 2]) for i in range(0, len(sums), 2))


def _why(ledger: Ledger, polled_until: int | None, purged_before: int) -> str:
    last = ledger.closed if ledger.closed is not None else ledger.opened
    if last < purged_before:
        return "purged"
    return "waiting" if polled_until is None or last > polled_until - KNOWN_AFTER_S else "never knew"
