# SPDX-License-Identifier: MIT
"""Tells the errors of a database apart: those that a retry can mend, and those that last until the server comes back."""

from __future__ import annotations

import itertools
import logging
import random
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

log = logging.getLogger(__name__)

ATTEMPTS = 40
PATIENCE_S = 20.0
"""The time in seconds after which nothing is retried. The node that waits for the answer has its own timeout, and
delivers again.
"""

FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 1.0

# MariaDB: 1020 record changed since it was read, 1205 lock wait timeout, 1213 deadlock and, in a Galera cluster,
# a commit that another node's came before; 1047 WSREP has not yet prepared the node; 1062 a row that another
# transaction has just made; 1053 and 1927: the server shuts down, the connection was killed.
MARIADB_AGAIN = frozenset({1020, 1047, 1053, 1062, 1205, 1213, 1927})
MARIADB_AWAY = frozenset({1040, 1047, 1053, 2002, 2003, 2006, 2013, 2055})

# PostgreSQL (appendix A of its manual): serialization failure, deadlock, lock not available, unique violation.
POSTGRESQL_AGAIN = frozenset({"40001", "40P01", "55P03", "23505"})
POSTGRESQL_AWAY = frozenset({"53300", "57P01", "57P02", "57P03"})
POSTGRESQL_NOT_YET = ("starting up", "shutting down", "recovery mode", "too many")
NOT_NOW = "carbon_not_now"
"""The attribute of an error of a server that takes no connections now, in whatever language it says so."""
# What has no room, or fails to write: SQLite's codes, MariaDB's errors and PostgreSQL's SQLSTATEs.
SQLITE_NO_WRITES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR})
MARIADB_NO_WRITES = frozenset({1021, 1030, 1114})
POSTGRESQL_NO_WRITES = frozenset({"53100", "58030"})

POSTGRESQL_ADVICE = {
    "42501": "; let its role own the database: ALTER DATABASE name OWNER TO role",
    "3F000": "; its search_path names no schema that exists: ALTER DATABASE name RESET search_path",
}

T = TypeVar("T")


def retry(attempt: Callable[[], T]) -> T:
    """Return the result of `attempt`, retried a bounded number of times if it conflicts with another transaction or
    loses its connection.

    It may have been stored although its connection was lost, so doing it twice must have the effect of doing it once.
    """
    deadline = time.monotonic() + PATIENCE_S
    for number in itertools.count(1):
        try:
            return attempt()
        except DBAPIError as err:
            if number == ATTEMPTS or time.monotonic() > deadline or not _mendable(err):
                raise
            log.debug("transaction is tried again: %s", err.orig)
        # At random, so that those that met do not meet again.
        time.sleep(random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**number)))  # noqa: S311  no secret
    raise AssertionError  # itertools.count does not end


def _mendable(err: DBAPIError) -> bool:
    if err.connection_invalidated:
        return not is_read_only(err.orig)
    if isinstance(err.orig, sqlite3.Error):
        return err.orig.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return _mariadb_code(err) in MARIADB_AGAIN or _sqlstate(err) in POSTGRESQL_AGAIN


def is_away(err: SQLAlchemyError) -> bool:
    """Return whether the server does not answer and may come back. A wrong password or statement is no such error."""
    if isinstance(err, PoolTimeoutError):
        return True
    if not isinstance(err, DBAPIError):
        return False
    state = _sqlstate(err)
    if (
        getattr(err.orig, NOT_NOW, False)
        or err.connection_invalidated
        or _mariadb_code(err) in MARIADB_AWAY
        or state in POSTGRESQL_AWAY
    ):
        return True
    # psycopg gives no SQLSTATE for a connection that did not come about, only the server's words.
    refused = state == "" and type(err.orig).__name__ in ("OperationalError", "ConnectionTimeout")
    return refused and ("FATAL:" not in str(err.orig) or any(words in str(err.orig) for words in POSTGRESQL_NOT_YET))


def is_damaged(err: SQLAlchemyError) -> bool:
    """Return whether a file of SQLite's is damaged, so that its content must come from a copy."""
    origin = getattr(err, "orig", None)
    code = getattr(origin, "sqlite_errorcode", None) if isinstance(origin, sqlite3.Error) else None
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_read_only(err: BaseException | None) -> bool:
    """Return whether a server takes no writes: it follows another, or was told so. Another server may take them."""
    args = getattr(err, "args", ())
    return getattr(err, "sqlstate", None) == "25006" or (
        args[:1] == (1290,) and "read-only" in str(args).replace("_", "-")
    )


def takes_no_writes(err: SQLAlchemyError) -> bool:
    """Return whether nothing can be stored until somebody does something: no room, a failing disk, a read-only server."""
    if not isinstance(err, DBAPIError):
        return False
    if isinstance(err.orig, sqlite3.Error):
        return err.orig.sqlite_errorcode & 0xFF in SQLITE_NO_WRITES
    known = _mariadb_code(err) in MARIADB_NO_WRITES or _sqlstate(err) in POSTGRESQL_NO_WRITES
    return known or is_read_only(err.orig)


def advice(err: SQLAlchemyError) -> str:
    """Return what to do about an error that lasts until somebody does it; an empty text for all others."""
    origin = getattr(err, "orig", None)
    if is_read_only(origin):
        return "; [aggregator] database must name the server that takes writes"
    # Since PostgreSQL 15 nobody but the owner may make tables in `public`.
    return POSTGRESQL_ADVICE.get(getattr(origin, "sqlstate", None) or "", "")


def is_not_ready(err: BaseException) -> bool:
    """Return whether a node of a Galera cluster answers, but takes no statements. Another node may take them."""
    return bool(err.args) and err.args[0] == 1047


def _mariadb_code(err: DBAPIError) -> int | None:
    args = getattr(err.orig, "args", ())
    return args[0] if args and isinstance(args[0], int) else None


def _sqlstate(err: DBAPIError) -> str | None:
    """Return the SQLSTATE: None where the driver is not PostgreSQL's, empty where the driver knows none."""
    return (getattr(err.orig, "sqlstate", None) or "") if hasattr(err.orig, "sqlstate") else None
