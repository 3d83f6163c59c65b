# SPDX-License-Identifier: MIT
"""Lists the ledgers for which Slurm has no run of a job, with their energy and the reason."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.models import Cluster, Ledger, Node, NodeJobSlot
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
    """Return the ledgers without a run of a job, oldest first. Slurm may have purged jobs from before `purged_before`."""
    energies = [part for name in COMPONENTS for part in exact_parts(getattr(NodeJobSlot, f"{name}_uj"))]
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
            energy_uj=sum_known(exact_whole(sums[i : i + 2]) for i in range(0, len(sums), 2)),
            why=_why(ledger, polled_until, purged_before),
        )
        for cluster, polled_until, node, ledger, *sums in session.execute(query)
    ]


def _why(ledger: Ledger, polled_until: int | None, purged_before: int) -> str:
    last = ledger.closed if ledger.closed is not None else ledger.opened
    if last < purged_before:
        return "purged"
    return "waiting" if polled_until is None or last > polled_until - KNOWN_AFTER_S else "never knew"
