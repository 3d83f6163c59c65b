# SPDX-License-Identifier: MIT
"""Opens the accounting database so that no statement of this process can change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event

from carbon_acct.db.connect import MARIADB
from carbon_acct.db.engine import Database, url_of
from carbon_acct.db.schema import newest
from carbon_acct.errors import DatabaseError

from ..facts import must_exist

if TYPE_CHECKING:
    from carbon_collector.settings import Settings


def open_read_only(settings: Settings) -> Database:
    """Return the site's database, open for reading. Raises DatabaseError, also where its schema is not this program's."""
    must_exist(url_of(settings))
    database = Database(url_of(settings))
    _forbid_writes(database)
    found = database.schema()
    if found != newest():
        database.close()
        raise DatabaseError(
            f"{database.shown}: its schema is {found or 'missing'}, not {newest()}, and carbon-web changes nothing;"
            " start the carbon-aggregator of this release first"
        )
    database.open()
    return database


def _forbid_writes(database: Database) -> None:
    """Have the database itself refuse what writes."""
    kind = database.engine.dialect.name
    if kind == "postgresql":

        @event.listens_for(database.engine, "begin")
        def _begin(connection: Connection) -> None:
            # In the transaction: a pooler has no session that could keep it.
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")

        return
    statement = "SET SESSION TRANSACTION READ ONLY" if kind in MARIADB else "PRAGMA query_only = ON"

    @event.listens_for(database.engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()
