# SPDX-License-Identifier: MIT
"""What Slurm's record has besides, what was held and not used, and roll-ups by state."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WASTED = ("core_us", "gpu_us", "gpu_idle_uj", "cpu_unused_uj")
ROLLED = (
    *("cpu_us", "energy_uj", "estimated_uj", "cpu_uj", "dram_uj", "gpu_uj", "other_uj", "facility_uj"),
    *("carbon_ug", "market_ug", "embodied_ug", "upstream_ug", "td_ug"),
)


def upgrade() -> None:
    """Apply. Of slots that are stored already it is not known what was held. Of jobs that were pruned the state is not
    known.
    """
    number, text = sa.BigInteger(), sa.Text()
    for name, kind in (
        ("group", sa.String(255)),
        ("gid", number),
        ("timelimit_s", number),
        ("req_cpus", number),
        ("req_nodes", number),
        ("req_tres", text),
        ("reason", sa.String(255)),
        ("comment", text),
        ("workdir", text),
        ("derived_exit_code", sa.String(32)),
        ("suspended_s", number),
    ):
        _add_column("job", sa.Column(name, kind, nullable=True))
    for table in ("job_slot", "job_day"):
        for name in WASTED:
            _add_column(table, sa.Column(name, number, nullable=True))
    _roll_ups_by_state()


def _add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column, unless an upgrade that was killed has done so: MariaDB keeps each change of a table at once."""
    if column.name not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def _roll_ups_by_state() -> None:
    if "state" in {known["name"] for known in sa.inspect(op.get_bind()).get_columns("day_sum")}:
        return  # done by an upgrade that was killed after it
    number = sa.BigInteger()
    figures = [column for name in (*ROLLED, *WASTED) for column in (name, f"{name}_jobs")]
    op.execute("DROP TABLE IF EXISTS day_sum_by_state")  # of an upgrade that was killed: some servers keep half of it
    op.create_table(
        "day_sum_by_state",
        sa.Column("association_id", number.with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("day", number, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        *(sa.Column(name, number, nullable=False) for name in ("jobs", "first_jobs", "simulated_jobs", *figures)),
        sa.ForeignKeyConstraint(["association_id"], ["association.id"]),
        sa.PrimaryKeyConstraint("association_id", "day", "state"),
    )
    columns = ", ".join(("association_id", "day", "state", "jobs", "first_jobs", "simulated_jobs", *figures))
    sums = ", ".join(f"COALESCE(SUM(d.{name}), 0), COUNT(d.{name})" for name in ROLLED)
    nothing = ", ".join("0, 0" for _ in WASTED)
    state = "CASE WHEN j.state LIKE 'CANCELLED%' THEN 'CANCELLED' ELSE SUBSTR(j.state, 1, 32) END"
    op.execute(
        f"INSERT INTO day_sum_by_state ({columns})"  # noqa: S608  names of its own
        f" SELECT j.association_id, d.day, {state}, COUNT(*),"
        " SUM(CASE WHEN d.day = f.first_day THEN 1 ELSE 0 END), SUM(CASE WHEN d.simulated THEN 1 ELSE 0 END),"
        f" {sums}, {nothing}"
        " FROM job_day d JOIN job j ON j.id = d.job_id"
        " JOIN (SELECT job_id, MIN(day) AS first_day FROM job_day GROUP BY job_id) f ON f.job_id = d.job_id"
        f" WHERE j.association_id IS NOT NULL GROUP BY j.association_id, d.day, {state}"
    )
    before = ("jobs", "simulated_jobs", *(column for name in ROLLED for column in (name, f"{name}_jobs")))
    kept = ", ".join(f"SUM({name}) AS {name}" for name in before)
    rest = {name: f"o.{name} - COALESCE(n.{name}, 0)" for name in before}
    values = ", ".join(
        rest.get(name, rest["jobs"] if name == "first_jobs" else "0") for name in columns.split(", ")[3:]
    )
    op.execute(
        f"INSERT INTO day_sum_by_state ({columns})"  # noqa: S608  the same
        f" SELECT o.association_id, o.day, '', {values} FROM day_sum o"
        f" LEFT JOIN (SELECT association_id, day, {kept} FROM day_sum_by_state GROUP BY association_id, day) n"
        " ON n.association_id = o.association_id AND n.day = o.day"
        f" WHERE {rest['jobs']} <> 0"
    )
    if op.get_bind().dialect.name in ("mysql", "mariadb"):  # both names at once: a kill between leaves no day_sum
        op.create_index("day_sum_day", "day_sum_by_state", ["day"], unique=False)
        op.execute("DROP TABLE IF EXISTS day_sum_before")
        op.execute("RENAME TABLE day_sum TO day_sum_before, day_sum_by_state TO day_sum")
        op.drop_table("day_sum_before")
        return
    op.drop_table("day_sum")
    op.rename_table("day_sum_by_state", "day_sum")
    op.create_index("day_sum_day", "day_sum", ["day"], unique=False)
