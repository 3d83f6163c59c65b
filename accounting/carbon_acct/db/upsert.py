# SPDX-License-Identifier: MIT
"""Adds to rows that others may add to at the same time: one statement that makes the row where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.orm import Session

from carbon_acct.db.rows import add_rows


def add_to(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Add every value of each row to the row of the same primary key. Sorted by it, so that writers do not cross."""
    keys = [column.name for column in table.primary_key]
    add_rows(session, table, sorted(rows, key=lambda row: [row[key] for key in keys]))
