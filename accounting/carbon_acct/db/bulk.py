# SPDX-License-Identifier: MIT
"""Writes many rows at once, in the way that each kind of database takes fastest.

SQLite takes rows one by one in the same process. MariaDB takes one statement with all rows in it; the driver's own
`executemany` makes the same statement in three times the time. PostgreSQL takes an array for each column.

A column that is unknown, or the same number, in all of the rows is not sent with each of them. Most columns are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import Connection, Dialect, Float, Integer, Table

from carbon_acct.db.connect import MARIADB, STATEMENT_LIMIT

Conflict = Literal["fail", "replace", "add"]
"""What happens to a row whose primary key exists: an error, its columns are set, or the numbers are added to its own.

Adding to an unknown number makes it known, and adding an unknown number changes nothing. A column that is no number is
set.
"""

Row = tuple[Any, ...]
Column = tuple[Any, ...]

STATEMENT_CHARS = 1_000_000
"""The most characters of rows in one statement of MariaDB. A server that takes less has its own (connect)."""


def store(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Row], conflict: Conflict
) -> None:
    """Insert rows: at least one row, of at least two columns. Raises SQLAlchemyError."""
    dialect = connection.dialect
    columns = list(zip(*rows, strict=True))
    if conflict == "add":
        names, columns = _known(names, columns)
    head, tail = _around(table, dialect, names, conflict)
    same = [_constant(column) for column in columns]
    if same.count(None) < 2:
        same = [None] * len(names)
    sent = [column for column, text in zip(columns, same, strict=True) if text is None]
    if dialect.name in MARIADB:
        row = f"({','.join(text or '%s' for text in same)})"
        for texts in _texts(connection, row, sent):
            _as_it_is(connection, f"{head} VALUES {texts}{tail}")
    elif dialect.name == "postgresql":
        values = ", ".join(text or array for text, array in zip(same, _arrays(table, dialect, names), strict=True))
        connection.exec_driver_sql(f"{head} SELECT {values}{tail}", tuple(map(_array, sent)))
    else:
        values = ", ".join(text or "?" for text in same)
        connection.exec_driver_sql(f"{head} VALUES ({values}){tail}", list(zip(*sent, strict=True)))


def change(connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Set columns of rows, at least one. The first of `names` is their primary key. Raises SQLAlchemyError."""
    dialect = connection.dialect
    own, (key, *others) = dialect.identifier_preparer.quote(table.name), _quoted(dialect, names)
    if dialect.name in MARIADB:
        sets = ", ".join(f"{own}.{name} = new.{name}" for name in others)
        row = f"({','.join(['%s'] * len(names))})"
        for texts in _texts(connection, row, list(zip(*rows, strict=True))):
            new = f"(WITH given ({key}, {', '.join(others)}) AS (VALUES {texts}) SELECT * FROM given) AS new"
            _as_it_is(connection, f"UPDATE {own} JOIN {new} ON {own}.{key} = new.{key} SET {sets}")
    elif dialect.name == "postgresql":
        arrays = zip(_arrays(table, dialect, names), (key, *others), strict=True)
        new = f"(SELECT {', '.join(f'{array} AS {name}' for array, name in arrays)}) AS new"
        sets = ", ".join(f"{name} = new.{name}" for name in others)
        sql = f"UPDATE {own} SET {sets} FROM {new} WHERE {own}.{key} = new.{key}"
        connection.exec_driver_sql(sql, tuple(map(_array, zip(*rows, strict=True))))
    else:
        sets = ", ".join(f"{name} = ?" for name in others)
        connection.exec_driver_sql(f"UPDATE {own} SET {sets} WHERE {key} = ?", [(*row[1:], row[0]) for row in rows])


def _known(names: tuple[str, ...], columns: Sequence[Column]) -> tuple[tuple[str, ...], list[Column]]:
    """Return the columns in which any value is known, with their names."""
    kept = [at for at, column in enumerate(columns) if column.count(None) < len(column)]
    return tuple(names[at] for at in kept), [columns[at] for at in kept]


def _constant(column: Column) -> str | None:
    """Return the SQL of the value that a column has in every row, if that is NULL or an integer; else None."""
    first = column[0]
    if (first is not None and type(first) is not int) or first != column[-1] or column.count(first) != len(column):
        return None
    return "NULL" if first is None else str(first)


@lru_cache(maxsize=256)
def _around(table: Table, dialect: Dialect, names: tuple[str, ...], conflict: Conflict) -> tuple[str, str]:
    """Return the text before and after the rows in an INSERT."""
    own = dialect.identifier_preparer.quote(table.name)
    keys = [column.name for column in table.primary_key]
    mariadb = dialect.name in MARIADB
    changes = []
    for column in (table.columns[name] for name in names if name not in keys):
        (name,) = _quoted(dialect, [column.name])
        before, new = f"{own}.{name}", f"VALUES({name})" if mariadb else f"excluded.{name}"
        if conflict == "add" and isinstance(column.type, (Integer, Float)):
            new = f"COALESCE({before} + {new}, {before}, {new})" if column.nullable else f"{before} + {new}"
        changes.append(f"{name} = {new}")
    head = f"INSERT INTO {own} ({', '.join(_quoted(dialect, names))})"
    if conflict == "fail":
        return head, ""
    there = "ON DUPLICATE KEY UPDATE" if mariadb else f"ON CONFLICT ({', '.join(_quoted(dialect, keys))}) DO UPDATE SET"
    return head, f" {there} {', '.join(changes)}"


def _quoted(dialect: Dialect, names: Sequence[str]) -> list[str]:
    return list(map(dialect.identifier_preparer.quote, names))


def _texts(connection: Connection, row: str, columns: Sequence[Column]) -> Iterator[str]:
    """Yield rows as MariaDB's text, with commas between. Integers are written here, everything else by the driver."""
    escape: Callable[[Any], str] = lru_cache(typed=True)(connection.connection.escape)  # most come again

    def literal(value: Any) -> str:
        if type(value) is int:
            return str(value)
        return "NULL" if value is None else escape(value)

    written = [column if set(map(type, column)) == {int} else tuple(map(literal, column)) for column in columns]
    rows = list(map(row.__mod__, zip(*written, strict=True)))
    most = getattr(connection.connection.driver_connection, STATEMENT_LIMIT, STATEMENT_CHARS)
    many = max(1, min(STATEMENT_CHARS, most) // max(map(len, rows)))
    for at in range(0, len(rows), many):
        yield ",".join(rows[at : at + many])


def _as_it_is(connection: Connection, sql: str) -> None:
    """Run SQL without parameters, whatever characters it has."""
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


@lru_cache(maxsize=256)
def _arrays(table: Table, dialect: Dialect, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return, for each column, the expression that makes rows of a PostgreSQL array."""
    return tuple(f"unnest(%s::{table.columns[name].type.compile(dialect=dialect)}[])" for name in names)


def _array(column: Column) -> str:
    """Return the PostgreSQL text of an array."""
    return f"{{{','.join(['NULL' if value is None else _element(value) for value in column])}}}"


def _element(value: Any) -> str:
    """Return the PostgreSQL text of a number, a boolean, or a quoted text."""
    if type(value) is int:
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)  # every digit of a double
