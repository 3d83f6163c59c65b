# SPDX-License-Identifier: MIT
"""Roll-ups and the site's sums may have several parts, so that they are exact beyond 64 bits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = {
    "day_sum": (["association_id", "day", "state", "part"], "association", "day"),
    "site_slot": (["cluster_id", "slot", "part"], "cluster", "slot"),
}
"""The primary key, the table that its first column is of, and the column of the other index."""


def upgrade() -> None:
    """Apply. What is stored is part 0."""
    for table, (keys, owner, indexed) in TABLES.items():
        columns = sa.inspect(op.get_bind()).get_columns(table)
        if "part" not in {column["name"] for column in columns}:  # else done by an upgrade that was killed after it
            _remake(table, keys, owner, indexed, [column["name"] for column in columns])


def _remake(table: str, keys: list[str], owner: str, indexed: str, names: list[str]) -> None:
    """Make the table with the other key, and fill it: SQLite changes no key of a table that is there."""
    number = sa.BigInteger()
    new, old = f"{table}_new", f"{table}_old"
    op.execute(f"DROP TABLE IF EXISTS {new}")  # of an upgrade that was killed: some servers keep half of it
    op.create_table(
        new,
        *(sa.Column(name, _type(name), nullable=False) for name in keys if name != "part"),
        sa.Column("part", number, nullable=False, server_default="0"),
        *(sa.Column(name, number, nullable=False) for name in names if name not in keys),
        sa.ForeignKeyConstraint([keys[0]], [f"{owner}.id"]),
        sa.PrimaryKeyConstraint(*keys),
    )
    listed = ", ".join(names)
    op.execute(f"INSERT INTO {new} ({listed}, part) SELECT {listed}, 0 FROM {table}")  # noqa: S608  names of its own
    if op.get_bind().dialect.name in ("mysql", "mariadb"):  # both names at once: a kill between leaves no table
        op.create_index(f"{table}_{indexed}", new, [indexed], unique=False)
        op.execute(f"DROP TABLE IF EXISTS {old}")
        op.execute(f"RENAME TABLE {table} TO {old}, {new} TO {table}")
        op.drop_table(old)
        return
    op.drop_table(table)
    op.rename_table(new, table)
    op.create_index(f"{table}_{indexed}", table, [indexed], unique=False)


def _type(name: str) -> sa.String | sa.types.TypeEngine[int]:
    if name == "state":
        return sa.String(32)
    number = sa.BigInteger()
    return number.with_variant(sa.Integer(), "sqlite") if name.endswith("_id") else number
