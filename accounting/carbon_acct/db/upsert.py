# SPDX-License-Identifier: MIT
"""Adds to rows that others may add to at the same time: one statement that makes the row where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Insert, Table
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session


def add_to(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Add every value of each row to the row of the same primary key. Sorted by it, so that writers do not cross."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    ordered = sorted(rows, key=lambda row: [row[key] for key in keys])
    session.execute(_statement(table, session.get_bind().dialect.name, tuple(ordered[0])), ordered)


@lru_cache
def _statement(table: Table, dialect: str, names: tuple[str, ...]) -> Insert:
    """Made once: these tables have many columns."""
    keys = [column.name for column in table.primary_key]
    added = [name for name in names if name not in keys]
    if dialect in ("mysql", "mariadb"):
        into = mysql.insert(table)
        return into.on_duplicate_key_update({n: table.c[n] + into.inserted[n] for n in added})
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    plain = insert(table)
    return plain.on_conflict_do_update(index_elements=keys, set_={n: table.c[n] + plain.excluded[n] for n in added})
