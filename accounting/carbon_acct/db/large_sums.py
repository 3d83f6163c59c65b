# SPDX-License-Identifier: MIT
"""Adds to stored sums that may exceed 64 bits, exactly and on every kind of database.

A key has one row, of part 0. Only where a figure has more than MOST does the key have further parts, and the figure is
the sum of them all. How a figure is divided depends on the figure alone, so sums made anew are divided alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, case, or_, select
from sqlalchemy.orm import Session

from carbon_acct.db.rows import add_rows, replace_rows

MOST = 2**62
"""The most that one part has of a figure."""

LARGE = 2**60
"""The figure from which on a row, or what is added to it, is looked at before it is added. Below, several programs may
add to a row at once without reading it.
"""

Key = tuple[Any, ...]


def is_large(table: Table) -> Any:
    """Return the condition for rows to which nothing may be added unseen."""
    columns = table.columns
    return or_(columns.part > 0, *(columns[name] > LARGE for name in _figures(table)))


def add_large(session: Session, table: Table, rows: Sequence[dict[str, Any]], large: Collection[Key]) -> None:
    """Add rows, which have no `part` yet, to the sums of the same keys. `large`: the keys of which `is_large` holds."""
    keys = _keys(table)
    figures = _figures(table)
    plain: list[dict[str, Any]] = []
    for row in rows:
        key = tuple(row[name] for name in keys)
        if key in large or any(abs(row[name]) > LARGE for name in figures):
            _add_one(session, table, key, row)
        else:
            plain.append({**row, "part": 0})
    add_rows(session, table, plain)


def divided(figures: Mapping[str, int]) -> list[dict[str, int]]:
    """Return the parts of a sum, at least one. The first of them hold as much as they may."""
    parts: list[dict[str, int]] = []
    rest = dict(figures)
    while not parts or any(rest.values()):
        part = {name: max(-MOST, min(MOST, amount)) for name, amount in rest.items()}
        rest = {name: amount - part[name] for name, amount in rest.items()}
        parts.append(part)
    return parts


def known(count: Any, figure: Any) -> Any:
    """Return a figure as a column that is NULL where nobody has it, by the number of those who do. Further parts count
    nobody, and have something only of what part 0 knows.
    """
    return case((or_(count > 0, figure != 0), figure))


def _add_one(session: Session, table: Table, key: Key, row: Mapping[str, Any]) -> None:
    """Add to one sum, of which all parts are read and locked."""
    keys = _keys(table)
    at = [table.columns[name] == value for name, value in zip(keys, key, strict=True)]
    stored = session.execute(select(table).where(*at).with_for_update()).mappings().all()
    figures = {name: row[name] + sum(part[name] for part in stored) for name in _figures(table)}
    of_key = dict(zip(keys, key, strict=True))
    parts = [{**of_key, "part": number, **part} for number, part in enumerate(divided(figures))]
    gone = {part["part"] for part in stored if part["part"] >= len(parts)}
    order = [column.name for column in table.primary_key]
    replace_rows(session, table, parts, [tuple({**of_key, "part": n}[name] for name in order) for n in gone])


def _keys(table: Table) -> list[str]:
    return [column.name for column in table.primary_key if column.name != "part"]


def _figures(table: Table) -> Iterable[str]:
    return [column.name for column in table.columns if not column.primary_key]
