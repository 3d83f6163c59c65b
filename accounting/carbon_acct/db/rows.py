# SPDX-License-Identifier: MIT
"""Statements on many rows: select, insert, replace, add to and delete them by the hundred.

SQLAlchemy compiles each statement once. Values then go to the driver as they are, and rows come back as they are. Its
own way looks at every value of every row, which took longer than the database did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import BindParameter, Dialect, Executable, Select, Table, bindparam, delete
from sqlalchemy.orm import Session

from carbon_acct.db import bulk, lists

IDS: BindParameter[Any] = bindparam("ids", expanding=True)
"""The placeholder in a query for the ids of `ask_ids`: `column.in_(IDS)`."""

AT_ONCE = 2000
"""The number of ids in one query. Every database takes as many."""


CHUNK = 500
"""Number of values in one IN list. Every database takes as many."""

T = TypeVar("T")


def chunks(values: Collection[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Yield the values in lists of at most `size`, short enough for an IN."""
    items = list(values)
    for at in range(0, len(items), size):
        yield items[at : at + size]


def table_of(model: Any) -> Table:
    """Return the table of a model. Statements on it skip the bookkeeping of objects."""
    found: Table = model.__table__
    return found


def ask(session: Session, query: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
    """Return the rows of a query. No objects are made of them."""
    return session.connection().execute(query, values).all()


def ask_ids(session: Session, query: Select[*tuple[Any, ...]], ids: Collection[int], **values: Any) -> list[Any]:
    """Return the rows of a query with IDS, for any number of ids. Values are as the driver gives them: a boolean may be
    0 or 1.
    """
    connection = session.connection()
    before, after, constants, order = _by_ids(query, connection.dialect)
    named = {**constants, **values}
    is_file = connection.dialect.name == "sqlite"
    items = list(ids)
    found: list[Any] = []
    for at in range(0, len(items), AT_ONCE):
        listed = lists.as_json(items[at : at + AT_ONCE])
        if is_file:  # one parameter: the driver keeps what it prepared, and would keep it for each text
            named["ids"] = listed
        asked: Any = named if order is None else tuple(named[name] for name in order if name != "ids" or is_file)
        inside = lists.JSON_IDS if is_file else listed[1:-1]
        found += connection.exec_driver_sql(f"{before}({inside}){after}", asked).all()
    return found


def ask_dicts(
    session: Session, query: Select[*tuple[Any, ...]], ids: Collection[int], **values: Any
) -> list[dict[str, Any]]:
    """Return the same rows as dictionaries by column."""
    rows = ask_ids(session, query, ids, **values)
    names = rows[0]._fields if rows else ()
    return [dict(zip(names, row, strict=True)) for row in rows]


@lru_cache
def _by_ids(
    query: Select[*tuple[Any, ...]], dialect: Dialect
) -> tuple[str, str, dict[str, Any], tuple[str, ...] | None]:
    """Return a query's text before and after the ids, its own constants, and the order of its values (None: they go by
    name).
    """
    compiled: Any = query.compile(dialect=dialect)
    before, after = str(compiled).split("(__[POSTCOMPILE_ids])")
    order = compiled.positiontup
    return before, after, dict(compiled.params), None if order is None else tuple(order)


def insert_rows(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows. All of them have the same columns."""
    _store(session, table, rows, "fail")


def put_rows(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, and replace these columns of rows whose primary key exists."""
    _store(session, table, rows, "replace")


def add_rows(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows; where the primary key exists, add their numbers to its row and set the rest. Rows are written in the
    order of the keys.
    """
    keys = itemgetter(*(column.name for column in table.primary_key))
    _store(session, table, sorted(rows, key=keys), "add")  # so that writers do not cross


def change_rows(session: Session, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    """Set columns of existing rows. The first of `names` is their primary key."""
    if rows:
        bulk.change(session.connection(), table, names, rows)


def replace_rows(
    session: Session, table: Table, rows: Sequence[dict[str, Any]], gone: Collection[tuple[Any, ...]]
) -> None:
    """Put rows, and delete those whose primary keys are in `gone`."""
    put_rows(session, table, rows)
    if gone:
        names = [column.name for column in table.primary_key]
        session.connection().execute(_delete(table), [dict(zip(names, key, strict=True)) for key in gone])


def _store(session: Session, table: Table, rows: Sequence[dict[str, Any]], conflict: bulk.Conflict) -> None:
    if rows:
        names = tuple(rows[0])
        bulk.store(session.connection(), table, names, list(map(itemgetter(*names), rows)), conflict)


@lru_cache
def _delete(table: Table) -> Any:
    return delete(table).where(*(column == bindparam(column.name) for column in table.primary_key))
