# SPDX-License-Identifier: MIT
"""Backup and restore: copies every row from one database into another, of any kind.

A backup is an SQLite file with the same tables, so any program of carbon-acct can work on it. The backup of an SQLite
database is a copy of its file. A server's database is read in one consistent view while others write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Integer, Table, delete, func, select, text
from sqlalchemy.orm import Session

from carbon_acct.db import connect, schema
from carbon_acct.db.engine import TURN, Database
from carbon_acct.db.models import Base, Job, Meta, Segment
from carbon_acct.errors import DatabaseError

AT_A_TIME = 1000


def backup(database: Database, file: Path) -> None:
    """Write a backup. The file is complete or does not exist. Raises DatabaseError."""
    if file.exists():
        raise DatabaseError(f"{file}: is there already; a backup is a new file")
    database.open()
    if connect.is_sqlite(database.engine.url):
        schema.copy_file(Path(database.engine.url.database or ""), file)
        return
    partial = file.with_name(f"{file.name}.part")
    partial.unlink(missing_ok=True)
    try:
        target = Database(f"sqlite:///{partial}")
        with database.read() as source, target.write() as into:
            _copy(source, into)
        target.close()  # the last connection takes what is in the write-ahead log into the file
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)


def restore(database: Database, file: Path) -> None:
    """Fill an empty database from a backup: with all of it, or with nothing. Raises DatabaseError."""
    if not file.is_file():
        raise DatabaseError(f"{file}: no such backup")
    source = Database(f"sqlite:///{file}")
    try:
        with source.engine.connect() as connection:
            found = schema.present(connection)
        if found != schema.newest():
            raise DatabaseError(
                f"{file}: its schema is {found}, this program's is {schema.newest()}: not a backup for it"
            )
        with source.read() as rows, database.write() as into:
            _must_be_empty(into, database.shown)
            _copy(rows, into)
    finally:
        source.close()


def _must_be_empty(session: Session, shown: str) -> None:
    for table in (Segment, Job):
        if session.scalar(select(func.count()).select_from(table)):
            raise DatabaseError(f"{shown}: has rows already; a backup is restored into an empty database")
    for other in reversed(Base.metadata.sorted_tables):  # what an aggregator notes when it starts
        session.execute(delete(other).where(Meta.key != TURN) if other.name == "meta" else delete(other))


def _copy(source: Session, target: Session) -> None:
    for table in Base.metadata.sorted_tables:
        query = select(table).where(Meta.key != TURN) if table.name == "meta" else select(table)
        rows = source.execute(query.execution_options(yield_per=AT_A_TIME)).mappings()
        for part in rows.partitions():
            target.execute(table.insert(), [dict(row) for row in part])
        if target.get_bind().dialect.name == "postgresql":
            _number_on(target, table)


def _number_on(target: Session, table: Table) -> None:
    """Set PostgreSQL's sequence beyond the ids that were copied. PostgreSQL counts on from ids that it gave itself."""
    keys: list[Any] = list(table.primary_key)
    if len(keys) == 1 and keys[0].name == "id" and isinstance(keys[0].type, Integer):
        sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
        target.execute(text(f"SELECT setval({sequence}, (SELECT coalesce(max(id), 0) + 1 FROM {table.name}), false)"))  # noqa: S608  our tables
