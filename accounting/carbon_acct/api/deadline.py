# SPDX-License-Identifier: MIT
"""Bounds the time of reads. A query that takes too long is stopped in the database too, not only given up here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from carbon_acct.db.engine import Database
from carbon_acct.errors import DatabaseError, RefusedError

STEPS = 20_000
"""The steps of SQLite's virtual machine between two checks of the deadline: well below a millisecond."""


@contextmanager
def read_within(database: Database, seconds: float) -> Iterator[Session]:
    """Yield a session as Database.read does. Raises RefusedError 503 where the block takes longer than `seconds`."""
    until = time.monotonic() + seconds
    try:
        with database.read() as session, _stopped_at(session, until, seconds):
            yield session
    except DatabaseError as err:
        if time.monotonic() < until:
            raise
        reason = f"the query took longer than {seconds:g} s; ask for less, by start and end, users, accounts or jobs"
        raise RefusedError(503, reason, "deadline") from err


@contextmanager
def _stopped_at(session: Session, until: float, seconds: float) -> Iterator[None]:
    """Make the database stop the statements of this session at the deadline."""
    kind = session.get_bind().dialect.name
    if kind == "postgresql":
        session.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
        yield
    elif kind in ("mysql", "mariadb"):
        session.execute(text(f"SET SESSION max_statement_time = {seconds}"))
        try:
            yield
        finally:
            session.rollback()
            session.execute(text("SET SESSION max_statement_time = DEFAULT"))
    else:
        connection: Any = session.connection().connection.driver_connection
        connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)
