# SPDX-License-Identifier: MIT
"""`slot_price` becomes `slot_factor`: what it holds are emission factors. No figure changes."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.rename_table("slot_price", "slot_factor")
    op.create_index("slot_factor_slot", "slot_factor", ["slot"], unique=False)
    op.drop_index("slot_price_slot", table_name="slot_factor")
    op.execute("ALTER TABLE job_slot RENAME COLUMN price_id TO factor_id")
    # The new index first: MariaDB keeps one for the foreign key.
    op.create_index("job_slot_factor", "job_slot", ["factor_id"], unique=False)
    op.drop_index("job_slot_price", table_name="job_slot")
