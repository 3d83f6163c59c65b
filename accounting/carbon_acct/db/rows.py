# SPDX-License-Identifier: MIT
"""Rows by the hundred: inserted, replaced, added to and deleted by primary key, in one statement for all of them.

SQLAlchemy makes each statement once; the rows then go to the driver as they are. Its own way with many rows looks at
every value of every row, which took longer than the database did.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Delete, Dialect, Executable, Insert, Table, bindparam, delete, insert
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session

MARIADB = ("mysql", "mariadb")


def table_of(model: Any) -> Table:
    """The table of a model: statements on it skip the bookkeeping of objects."""
    found: Table = model.__table__
    return found


def ask(session: Session, query: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
    """The rows of a query; no objects are made of them."""
    return session.connection().execute(query, values).all()


def insert_rows(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, which all have the same columns."""
    _execute(session, _insert, table, rows)


def put_rows(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or set these columns of those whose primary key is there."""
    _execute(session, _put, table, rows)


def add_rows(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Add every value of each row to the row of the same primary key, or insert it."""
    _execute(session, _add, table, rows)


def replace_rows(
    session: Session, table: Table, rows: Sequence[dict[str, Any]], gone: Collection[tuple[Any, ...]]
) -> None:
    """Put `rows` into the table, and delete those with the primary keys `gone`, as far as they are there."""
    put_rows(session, table, rows)
    names = [column.name for column in table.primary_key]
    _execute(session, _delete, table, [dict(zip(names, key, strict=True)) for key in gone])


Maker = Callable[[Table, Dialect, tuple[str, ...]], Insert | Delete]


def _execute(session: Session, make: Maker, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    connection = session.connection()
    sql, order = _compiled(make, table, connection.dialect, tuple(rows[0]))
    in_order: Any = [itemgetter(*order)(row) for row in rows] if order else rows
    connection.exec_driver_sql(sql, in_order)


@lru_cache
def _compiled(make: Maker, table: Table, dialect: Dialect, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The text of a statement, and the names of its values in order; none where the driver takes them by name."""
    compiled: Any = make(table, dialect, names).compile(dialect=dialect, column_keys=list(names))
    return str(compiled), tuple(compiled.positiontup or ())


def _insert(table: Table, _dialect: Dialect, _names: tuple[str, ...]) -> Insert:
    return insert(table)


def _put(table: Table, dialect: Dialect, names: tuple[str, ...]) -> Insert:
    return _upsert(table, dialect, names, lambda _name, new: new)


def _add(table: Table, dialect: Dialect, names: tuple[str, ...]) -> Insert:
    return _upsert(table, dialect, names, lambda name, new: table.c[name] + new)


def _upsert(table: Table, dialect: Dialect, names: tuple[str, ...], value: Callable[[str, Any], Any]) -> Insert:
    keys = [column.name for column in table.primary_key]
    rest = [name for name in names if name not in keys]
    if dialect.name in MARIADB:
        into = mysql.insert(table)
        return into.on_duplicate_key_update({name: value(name, into.inserted[name]) for name in rest})
    plain = (postgresql.insert if dialect.name == "postgresql" else sqlite.insert)(table)
    values = {name: value(name, plain.excluded[name]) for name in rest}
    return plain.on_conflict_do_update(index_elements=keys, set_=values)


def _delete(table: Table, _dialect: Dialect, _names: tuple[str, ...]) -> Delete:
    return delete(table).where(*(column == bindparam(column.name) for column in table.primary_key))
