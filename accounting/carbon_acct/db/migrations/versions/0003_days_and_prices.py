# SPDX-License-Identifier: MIT
"""Days and roll-ups, prices of slots, associations, and what the database says of itself.

Prices and sums of jobs are made anew (rebuild.py), from what the nodes delivered.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.drop_table("job_slot")
    op.drop_table("intensity")
    op.create_table(
        "factor_source",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("text", sa.String(length=255), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("zone", "provider", "scope", "purpose", "text"),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "association",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("cluster_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=True),
        sa.Column("user", sa.String(length=255), nullable=True),
        sa.Column("account", sa.String(length=255), nullable=True),
        sa.Column("partition", sa.String(length=255), nullable=True),
        sa.Column("qos", sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["cluster.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("association_account", "association", ["account"], unique=False)
    op.create_index("association_user", "association", ["user"], unique=False)
    op.create_table(
        "intensity",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("period_start", sa.BigInteger(), nullable=False),
        sa.Column("period_end", sa.BigInteger(), nullable=True),
        sa.Column("g_per_kwh", sa.String(length=64), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["factor_source.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source_id", "period_start", "revision"),
    )
    op.create_table(
        "site_slot",
        sa.Column("cluster_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("elapsed_us", sa.BigInteger(), nullable=False),
        sa.Column("simulated_nodes", sa.BigInteger(), nullable=False),
        sa.Column("cpu_uj", sa.BigInteger(), nullable=False),
        sa.Column("cpu_jobs_uj", sa.BigInteger(), nullable=False),
        sa.Column("cpu_idle_uj", sa.BigInteger(), nullable=False),
        sa.Column("cpu_system_uj", sa.BigInteger(), nullable=False),
        sa.Column("cpu_nodes", sa.BigInteger(), nullable=False),
        sa.Column("dram_uj", sa.BigInteger(), nullable=False),
        sa.Column("dram_jobs_uj", sa.BigInteger(), nullable=False),
        sa.Column("dram_idle_uj", sa.BigInteger(), nullable=False),
        sa.Column("dram_system_uj", sa.BigInteger(), nullable=False),
        sa.Column("dram_nodes", sa.BigInteger(), nullable=False),
        sa.Column("gpu_uj", sa.BigInteger(), nullable=False),
        sa.Column("gpu_jobs_uj", sa.BigInteger(), nullable=False),
        sa.Column("gpu_idle_uj", sa.BigInteger(), nullable=False),
        sa.Column("gpu_system_uj", sa.BigInteger(), nullable=False),
        sa.Column("gpu_nodes", sa.BigInteger(), nullable=False),
        sa.Column("other_uj", sa.BigInteger(), nullable=False),
        sa.Column("other_jobs_uj", sa.BigInteger(), nullable=False),
        sa.Column("other_idle_uj", sa.BigInteger(), nullable=False),
        sa.Column("other_system_uj", sa.BigInteger(), nullable=False),
        sa.Column("other_nodes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["cluster.id"],
        ),
        sa.PrimaryKeyConstraint("cluster_id", "slot"),
    )
    op.create_index("site_slot_slot", "site_slot", ["slot"], unique=False)
    op.create_table(
        "slot_price",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("pue", sa.String(length=64), nullable=False),
        sa.Column("pue_float", sa.Double(), nullable=False),
        sa.Column("g_per_kwh", sa.String(length=64), nullable=False),
        sa.Column("g_per_kwh_float", sa.Double(), nullable=False),
        sa.Column("source_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("market_g_per_kwh", sa.String(length=64), nullable=True),
        sa.Column("market_source_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("upstream_g_per_kwh", sa.String(length=64), nullable=True),
        sa.Column("td_g_per_kwh", sa.String(length=64), nullable=True),
        sa.Column("computed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["market_source_id"],
            ["factor_source.id"],
        ),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["factor_source.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("zone", "slot", "revision"),
    )
    op.create_index("slot_price_slot", "slot_price", ["slot"], unique=False)
    op.create_table(
        "day_sum",
        sa.Column("association_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("simulated_jobs", sa.BigInteger(), nullable=False),
        sa.Column("cpu_us", sa.BigInteger(), nullable=False),
        sa.Column("cpu_us_jobs", sa.BigInteger(), nullable=False),
        sa.Column("energy_uj", sa.BigInteger(), nullable=False),
        sa.Column("energy_uj_jobs", sa.BigInteger(), nullable=False),
        sa.Column("estimated_uj", sa.BigInteger(), nullable=False),
        sa.Column("estimated_uj_jobs", sa.BigInteger(), nullable=False),
        sa.Column("cpu_uj", sa.BigInteger(), nullable=False),
        sa.Column("cpu_uj_jobs", sa.BigInteger(), nullable=False),
        sa.Column("dram_uj", sa.BigInteger(), nullable=False),
        sa.Column("dram_uj_jobs", sa.BigInteger(), nullable=False),
        sa.Column("gpu_uj", sa.BigInteger(), nullable=False),
        sa.Column("gpu_uj_jobs", sa.BigInteger(), nullable=False),
        sa.Column("other_uj", sa.BigInteger(), nullable=False),
        sa.Column("other_uj_jobs", sa.BigInteger(), nullable=False),
        sa.Column("facility_uj", sa.BigInteger(), nullable=False),
        sa.Column("facility_uj_jobs", sa.BigInteger(), nullable=False),
        sa.Column("carbon_ug", sa.BigInteger(), nullable=False),
        sa.Column("carbon_ug_jobs", sa.BigInteger(), nullable=False),
        sa.Column("market_ug", sa.BigInteger(), nullable=False),
        sa.Column("market_ug_jobs", sa.BigInteger(), nullable=False),
        sa.Column("embodied_ug", sa.BigInteger(), nullable=False),
        sa.Column("embodied_ug_jobs", sa.BigInteger(), nullable=False),
        sa.Column("upstream_ug", sa.BigInteger(), nullable=False),
        sa.Column("upstream_ug_jobs", sa.BigInteger(), nullable=False),
        sa.Column("td_ug", sa.BigInteger(), nullable=False),
        sa.Column("td_ug_jobs", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["association.id"],
        ),
        sa.PrimaryKeyConstraint("association_id", "day"),
    )
    op.create_index("day_sum_day", "day_sum", ["day"], unique=False)
    op.create_table(
        "job_day",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("sources", sa.String(length=64), nullable=False),
        sa.Column("g_per_kwh_weight", sa.Double(), nullable=False),
        sa.Column("pue_weight", sa.Double(), nullable=False),
        sa.Column("cpu_us", sa.BigInteger(), nullable=True),
        sa.Column("cpu_alloc_us", sa.BigInteger(), nullable=True),
        sa.Column("dram_alloc_us", sa.BigInteger(), nullable=True),
        sa.Column("gpu_alloc_us", sa.BigInteger(), nullable=True),
        sa.Column("other_alloc_us", sa.BigInteger(), nullable=True),
        sa.Column("energy_uj", sa.BigInteger(), nullable=True),
        sa.Column("estimated_uj", sa.BigInteger(), nullable=True),
        sa.Column("facility_uj", sa.BigInteger(), nullable=True),
        sa.Column("carbon_ug", sa.BigInteger(), nullable=True),
        sa.Column("market_ug", sa.BigInteger(), nullable=True),
        sa.Column("embodied_ug", sa.BigInteger(), nullable=True),
        sa.Column("upstream_ug", sa.BigInteger(), nullable=True),
        sa.Column("td_ug", sa.BigInteger(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("cpu_uj", sa.BigInteger(), nullable=True),
        sa.Column("cpu_static_uj", sa.BigInteger(), nullable=True),
        sa.Column("cpu_metered_us", sa.BigInteger(), nullable=True),
        sa.Column("cpu_method", sa.String(length=16), nullable=True),
        sa.Column("dram_uj", sa.BigInteger(), nullable=True),
        sa.Column("dram_static_uj", sa.BigInteger(), nullable=True),
        sa.Column("dram_metered_us", sa.BigInteger(), nullable=True),
        sa.Column("dram_method", sa.String(length=16), nullable=True),
        sa.Column("gpu_uj", sa.BigInteger(), nullable=True),
        sa.Column("gpu_static_uj", sa.BigInteger(), nullable=True),
        sa.Column("gpu_metered_us", sa.BigInteger(), nullable=True),
        sa.Column("gpu_method", sa.String(length=16), nullable=True),
        sa.Column("other_uj", sa.BigInteger(), nullable=True),
        sa.Column("other_static_uj", sa.BigInteger(), nullable=True),
        sa.Column("other_metered_us", sa.BigInteger(), nullable=True),
        sa.Column("other_method", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["job.id"],
        ),
        sa.PrimaryKeyConstraint("job_id", "day"),
    )
    op.create_index("job_day_day", "job_day", ["day"], unique=False)
    op.create_table(
        "job_slot",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("price_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cpu_us", sa.BigInteger(), nullable=True),
        sa.Column("cpu_alloc_us", sa.BigInteger(), nullable=True),
        sa.Column("dram_alloc_us", sa.BigInteger(), nullable=True),
        sa.Column("gpu_alloc_us", sa.BigInteger(), nullable=True),
        sa.Column("other_alloc_us", sa.BigInteger(), nullable=True),
        sa.Column("energy_uj", sa.BigInteger(), nullable=True),
        sa.Column("estimated_uj", sa.BigInteger(), nullable=True),
        sa.Column("facility_uj", sa.BigInteger(), nullable=True),
        sa.Column("carbon_ug", sa.BigInteger(), nullable=True),
        sa.Column("market_ug", sa.BigInteger(), nullable=True),
        sa.Column("embodied_ug", sa.BigInteger(), nullable=True),
        sa.Column("upstream_ug", sa.BigInteger(), nullable=True),
        sa.Column("td_ug", sa.BigInteger(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("cpu_uj", sa.BigInteger(), nullable=True),
        sa.Column("cpu_static_uj", sa.BigInteger(), nullable=True),
        sa.Column("cpu_metered_us", sa.BigInteger(), nullable=True),
        sa.Column("cpu_method", sa.String(length=16), nullable=True),
        sa.Column("dram_uj", sa.BigInteger(), nullable=True),
        sa.Column("dram_static_uj", sa.BigInteger(), nullable=True),
        sa.Column("dram_metered_us", sa.BigInteger(), nullable=True),
        sa.Column("dram_method", sa.String(length=16), nullable=True),
        sa.Column("gpu_uj", sa.BigInteger(), nullable=True),
        sa.Column("gpu_static_uj", sa.BigInteger(), nullable=True),
        sa.Column("gpu_metered_us", sa.BigInteger(), nullable=True),
        sa.Column("gpu_method", sa.String(length=16), nullable=True),
        sa.Column("other_uj", sa.BigInteger(), nullable=True),
        sa.Column("other_static_uj", sa.BigInteger(), nullable=True),
        sa.Column("other_metered_us", sa.BigInteger(), nullable=True),
        sa.Column("other_method", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["job.id"],
        ),
        sa.ForeignKeyConstraint(
            ["price_id"],
            ["slot_price.id"],
        ),
        sa.PrimaryKeyConstraint("job_id", "slot"),
    )
    op.create_index("job_slot_price", "job_slot", ["price_id"], unique=False)
    op.create_index("job_slot_slot", "job_slot", ["slot"], unique=False)
    op.add_column("job", sa.Column("association_id", sa.BigInteger(), nullable=True))
    op.drop_index("job_uid_end", table_name="job")
    op.drop_index("job_account_end", table_name="job")
    op.create_index("job_association_end", "job", ["association_id", "end"], unique=False)
