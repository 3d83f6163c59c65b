# SPDX-License-Identifier: MIT
"""Writes many rows at once, in the way in which each kind of database takes them fastest.

SQLite takes them one by one in the same process. MariaDB takes a statement with all of them in it; the driver's own
`executemany` makes the same, in three times the time. PostgreSQL takes them by COPY, into a temporary table because
COPY itself can only add rows; one by one it needs twice as long for each.

A column that is unknown, or 0, in all of the rows is not sent with each: of most sites' rows that is half of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.exc import DBAPIError

from carbon_acct.db.connect import MARIADB

Conflict = Literal["fail", "replace", "add"]
"""What becomes of a row whose primary key is there: an error, its columns are set, or every value is added to it."""

Row = tuple[Any, ...]

STATEMENT_CHARS = 1_000_000
"""In one statement of MariaDB, about; it takes 16 MB (max_allowed_packet)."""

FEW = 8
"""Rows for which PostgreSQL's COPY, three round trips, is not worth it."""


def store(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Row], conflict: Conflict
) -> None:
    """Insert rows, at least one, of these columns, at least two. Raises SQLAlchemyError."""
    kind = connection.dialect.name
    if kind == "postgresql" and len(rows) > FEW:
        _copy(connection, table, names, rows, conflict)
        return
    same = tuple(_constant(column) for column in zip(*rows, strict=True))
    head, tail = _around(table, connection.dialect, names, conflict)
    sent = [at for at, text in enumerate(same) if text is None]
    if len(sent) > 1:
        picked = rows if len(sent) == len(names) else [tuple([row[at] for at in sent]) for row in rows]
    else:
        same, picked = (None,) * len(names), rows
    if kind in MARIADB:
        _in_statements(connection, head, same, picked, tail)
    else:
        mark = "?" if kind == "sqlite" else "%s"
        values = ", ".join(mark if text is None else text for text in same)
        connection.exec_driver_sql(f"{head} VALUES ({values}){tail}", picked)


def _constant(column: Sequence[Any]) -> str | None:
    """The SQL of what all values of a column are, where that is NULL or the number 0."""
    first = column[0]
    if first is None:
        return "NULL" if column.count(None) == len(column) else None
    return "0" if type(first) is int and first == 0 and column.count(0) == len(column) else None


@lru_cache(maxsize=256)
def _around(table: Table, dialect: Dialect, names: tuple[str, ...], conflict: Conflict) -> tuple[str, str]:
    """What stands before and after the rows in an INSERT."""
    quote: Callable[[str], str] = dialect.identifier_preparer.quote
    keys = [column.name for column in table.primary_key]
    own = quote(table.name)
    mariadb = dialect.name in MARIADB
    changes = []
    for name in (quote(name) for name in names if name not in keys):
        new = f"VALUES({name})" if mariadb else f"excluded.{name}"
        changes.append(f"{name} = {new}" if conflict == "replace" else f"{name} = {own}.{name} + {new}")
    head = f"INSERT INTO {own} ({', '.join(map(quote, names))})"
    if conflict == "fail":
        return head, ""
    there = "ON DUPLICATE KEY UPDATE" if mariadb else f"ON CONFLICT ({', '.join(map(quote, keys))}) DO UPDATE SET"
    return head, f" {there} {', '.join(changes)}"


def _in_statements(
    connection: Connection, head: str, same: Sequence[str | None], rows: Sequence[Row], tail: str
) -> None:
    """Send rows as the text of statements. Numbers are written here; whatever else, the driver writes."""
    escape: Callable[[Any], str] = connection.connection.escape  # PyMySQL's
    template = f"({','.join('%s' if text is None else text for text in same)})"

    def literal(value: Any) -> str | int:
        if type(value) is int:
            return value
        return "NULL" if value is None else escape(value)

    texts: list[str] = []
    length = 0
    for row in rows:
        text = template % tuple(map(literal, row))
        if length > STATEMENT_CHARS:
            _as_it_is(connection, f"{head} VALUES {','.join(texts)}{tail}")
            texts, length = [], 0
        texts.append(text)
        length += len(text)
    _as_it_is(connection, f"{head} VALUES {','.join(texts)}{tail}")


def _as_it_is(connection: Connection, sql: str) -> None:
    """Run SQL that has no places for values, whatever signs are in it."""
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def _copy(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Row], conflict: Conflict
) -> None:
    """COPY into a table of this connection's, and from there."""
    head, tail = _around(table, connection.dialect, names, conflict)
    columns = ", ".join(map(connection.dialect.identifier_preparer.quote, names))
    incoming = f"incoming_{table.name}"
    like = f"AS SELECT * FROM {table.name} WITH NO DATA"  # noqa: S608  our tables
    made = f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} ON COMMIT DELETE ROWS {like}"
    _as_it_is(connection, f"{made}; TRUNCATE {incoming}")
    sql = f"COPY {incoming} ({columns}) FROM STDIN"
    with _driver_errors(connection, sql), connection.connection.cursor().copy(sql) as copy:  # psycopg's
        for row in rows:
            copy.write_row(row)
    _as_it_is(connection, f"{head} SELECT {columns} FROM {incoming}{tail}")  # noqa: S608  our tables


@contextmanager
def _driver_errors(connection: Connection, sql: str) -> Iterator[None]:
    """What the driver raises, as SQLAlchemy would where it had been asked."""
    dialect: Any = connection.dialect
    base: type[Exception] = dialect.loaded_dbapi.Error
    try:
        yield
    except base as err:
        gone = dialect.is_disconnect(err, connection.connection.dbapi_connection, None)
        if gone:
            connection.invalidate(err)
        raise DBAPIError.instance(sql, None, err, base, connection_invalidated=gone, dialect=dialect) from err
