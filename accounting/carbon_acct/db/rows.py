# SPDX-License-Identifier: MIT
"""Rows by the hundred: inserted, updated and deleted by primary key, each in one statement for all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Table, Update, bindparam, delete, insert, update
from sqlalchemy.orm import Session


def table_of(model: Any) -> Table:
    """The table of a model: statements on it skip the bookkeeping of objects."""
    found: Table = model.__table__
    return found


def replace_rows(
    session: Session,
    table: Table,
    rows: Sequence[dict[str, Any]],
    there: Collection[tuple[Any, ...]],
    wanted: Collection[tuple[Any, ...]] = (),
) -> None:
    """Put `rows` into the table, where `there` are the primary keys of those that it has.

    Of `wanted` keys those that no row has any more are deleted. All rows have the same columns.
    """
    keys = [column.name for column in table.primary_key]
    put = {tuple(row[key] for key in keys): row for row in rows}
    new = [row for key, row in put.items() if key not in there]
    changed = [row for key, row in put.items() if key in there]
    gone = [key for key in there if key in wanted and key not in put]
    if new:
        session.execute(insert(table), new)
    if changed:
        named = [{f"b_{n}" if n in keys else n: value for n, value in row.items()} for row in changed]
        session.execute(_update(table, tuple(changed[0])), named)
    if gone:
        session.execute(
            delete(table).where(*_at(table)), [dict(zip([f"b_{k}" for k in keys], key, strict=True)) for key in gone]
        )


@lru_cache
def _update(table: Table, names: tuple[str, ...]) -> Update:
    """Made once: these tables have many columns."""
    values: dict[str, Any] = {name: bindparam(name) for name in names if name not in table.primary_key.columns}
    return update(table).where(*_at(table)).values(values)


def _at(table: Table) -> list[ColumnElement[bool]]:
    return [column == bindparam(f"b_{column.name}") for column in table.primary_key]
