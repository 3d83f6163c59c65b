# SPDX-License-Identifier: MIT
"""Energies of jobs by minute, beside the slots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Of slots that are stored already the minutes are not known."""
    for table in ("node_job_slot", "job_slot"):
        # An upgrade that was killed may have added one: MariaDB keeps each change of a table at once.
        if "minutes" not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
            op.add_column(table, sa.Column("minutes", sa.Text(), nullable=True))
