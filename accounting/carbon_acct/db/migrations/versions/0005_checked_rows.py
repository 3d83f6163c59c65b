# SPDX-License-Identifier: MIT
"""Rows that do not fit their job are kept apart, a node's rows of a slot are added up, late changes are counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COMPONENTS = ("cpu", "dram", "gpu", "other")


def upgrade() -> None:
    """Apply. What was delivered before is counted for its job as it was; what comes is checked."""
    big = sa.BigInteger()
    op.create_table(
        "apart",
        sa.Column("ledger_id", big, primary_key=True, autoincrement=False),
        sa.Column("slot", big, primary_key=True, autoincrement=False),
        sa.Column("reason", sa.String(16), nullable=False),
    )
    op.create_table(
        "node_total",
        sa.Column("node_id", big, primary_key=True, autoincrement=False),
        sa.Column("slot", big, primary_key=True, autoincrement=False),
        *(sa.Column(name, big, nullable=False) for name in ("jobs", "cpu_us", *(f"{c}_uj" for c in COMPONENTS))),
    )
    op.create_index("node_total_slot", "node_total", ["slot"], unique=False)
    op.create_table(
        "late_change",
        sa.Column("node_id", big, primary_key=True, autoincrement=False),
        sa.Column("month", big, primary_key=True, autoincrement=False),
        *(sa.Column(name, big, nullable=False) for name in ("jobs", "energy_uj", "changed_at")),
    )
    sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in ("cpu_us", *(f"{c}_uj" for c in COMPONENTS)))
    columns = ", ".join(("jobs", "cpu_us", *(f"{c}_uj" for c in COMPONENTS)))
    op.execute(
        f"INSERT INTO node_total (node_id, slot, {columns})"  # noqa: S608  names of its own
        f" SELECT ledger.node_id, node_job_slot.slot, COUNT(*), {sums}"
        " FROM node_job_slot JOIN ledger ON ledger.id = node_job_slot.ledger_id"
        " GROUP BY ledger.node_id, node_job_slot.slot"
    )
