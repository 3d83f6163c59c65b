# SPDX-License-Identifier: MIT
"""Connects to a database of each kind, so that all of them behave alike.

SQLite needs care that servers do not: WAL lets readers go on while a segment is stored, synchronous=FULL
keeps an acknowledged segment through a power cut (https://sqlite.org/pragma.html#pragma_synchronous: NORMAL
in WAL may lose the last commits), and a writer must say so at BEGIN, because a reader that turns into a
writer fails at once where it should wait.

MariaDB compares names without case, and without blanks at their end, unless a table says otherwise; its TEXT ends at
64 KiB; and a server that was upgraded from of old makes rows whose indexes have no place for our names.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import URL, Connection, Engine, Text, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

from carbon_acct.db.faults import NOT_NOW, is_not_ready, is_read_only
from carbon_acct.errors import DatabaseError

CONNECTIONS = 15
"""The number of connections at once. They are kept: to make one takes longer than most of what it is made for."""
BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 600
"""The time in seconds after which a server that does not answer is given up."""

DEFAULT_FILE = "/var/lib/carbon-aggregator/carbon-acct.db"
"""The default file, in the aggregator's own folder. The collector's folder is root's, also on a host that has both."""
FILE_BEFORE = "/var/lib/carbon-acct/carbon-acct.db"
"""The default file of releases in which the two shared a folder."""

MARIADB = ("mariadb", "mysql")
"""The names of SQLAlchemy's dialect for MariaDB."""
PG_READ_COMMITTED = 2
"""psycopg's number of that isolation level."""
OF_PSYCOPG = ("prepare_threshold", "context")
"""The parameters of a connection that are psycopg's, and not the server's."""
STATEMENT_LIMIT = "carbon_statement_chars"
"""The attribute of a connection to MariaDB that says how many characters of rows the server takes in a statement."""
REST_OF_STATEMENT = 8 * 1024
"""The bytes of a statement that are kept for what is around its rows."""
EXTRAS = {"sqlite": "", "mysql": "mariadb", "mariadb": "mariadb", "postgresql": "postgresql"}
"""The kinds of database that are supported, and the extra of this distribution that has the driver of each."""


def parse_urls(text: str) -> list[URL]:
    """Return the URLs of one database. They are separated by blanks, and those after the first name its other servers.
    Raises DatabaseError.
    """
    try:
        # A file's name may have blanks in it; several servers are told apart by them.
        words = [text.strip()] if text.strip().startswith("sqlite") else text.split()
        urls = [make_url(word) for word in words]
    except ArgumentError as err:
        raise DatabaseError(f"[aggregator] database: not a database URL that can be used: {err}") from err
    if len({(url.drivername, url.database) for url in urls}) != 1 or (len(urls) > 1 and is_sqlite(urls[0])):
        raise DatabaseError("[aggregator] database: several URLs name the servers of one database, of the same kind")
    return urls


def is_sqlite(url: URL) -> bool:
    """Return whether the database is a file of SQLite's."""
    return url.get_backend_name() == "sqlite"


def check_kind(url: URL) -> None:
    """Raise DatabaseError unless the kind of database is one that is supported, its driver is installed, and SQLite has
    a file.
    """
    kind = url.get_backend_name()
    if kind not in EXTRAS:
        raise DatabaseError(f"[aggregator] database: {kind} is none of SQLite, MariaDB and PostgreSQL")
    if is_sqlite(url) and url.database in (None, "", ":memory:"):
        raise DatabaseError("[aggregator] database: SQLite needs a file: sqlite:////PATH/carbon-acct.db")
    try:
        url.get_dialect().import_dbapi()
    except (ImportError, SQLAlchemyError) as err:
        how = f"pip install 'carbon-acct[{EXTRAS[kind]}]' installs one" if EXTRAS[kind] else "Python lacks it"
        raise DatabaseError(
            f"[aggregator] database: the driver of {url.drivername} is missing ({one_line(err)}): {how}"
        ) from err


def engine_of(urls: Sequence[URL]) -> Engine:
    """Return an engine that has not connected yet. Raises DatabaseError."""
    check_kind(urls[0])
    try:
        if is_sqlite(urls[0]):
            _make_private(Path(str(urls[0].database)))
            return _sqlite(urls[0])
        return _server(urls)
    except (ArgumentError, ImportError, SQLAlchemyError) as err:
        raise DatabaseError(f"[aggregator] database: not a database URL that can be used: {one_line(err)}") from err
    except OSError as err:
        raise DatabaseError(f"[aggregator] database: {err}") from err


def one_line(err: Exception) -> str:
    """Return the driver's message in one line."""
    origin = getattr(err, "orig", None) or err
    return " ".join(str(origin).split())[:300]


def _make_private(path: Path) -> None:
    """Create the database's file, or check it, so that only its owner can read it, whatever the umask: it holds
    everybody's jobs.

    SQLite gives its other files the mode and the owner of this one. A file that root creates in the aggregator's folder
    gets the folder's owner, so that the aggregator can write it.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if str(path) == DEFAULT_FILE and not path.exists() and os.path.exists(FILE_BEFORE):  # noqa: PTH110  it never raises
        raise DatabaseError(
            f"the database is still {FILE_BEFORE}: stop carbon-aggregator, move {FILE_BEFORE}* to {path.parent}/"
            f" and chown --reference={path.parent} them there"
        )
    try:
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        made = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    else:
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.fchown(made, folder.st_uid, folder.st_gid)
    os.close(made)


def _sqlite(url: URL) -> Engine:
    connect_args = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
    engine = create_engine(url, pool_size=CONNECTIONS, max_overflow=0, pool_use_lifo=True, connect_args=connect_args)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not guess where transactions begin
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("carbon_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _server(urls: Sequence[URL]) -> Engine:
    """Return an engine for the servers. A lost connection is made anew, to the first server that answers."""
    mariadb = urls[0].get_backend_name() in MARIADB
    connect_args = _mariadb() if mariadb else _postgresql()
    engine = create_engine(
        urls[0],
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_use_lifo=True,
        pool_pre_ping=True,
        connect_args=connect_args,
    )
    targets = [_target(engine, url) for url in urls]
    good = [0]

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _record: Any, _args: Any, params: dict[str, Any]) -> Any:
        failure: Exception | None = None
        for at in [*range(good[0], len(targets)), *range(good[0])]:  # the last that answered before the others
            args, own = targets[at]
            try:
                connection = dialect.connect(*args, **{**params, **own})
                if mariadb:
                    _prepare_mariadb(connection, of_several=len(targets) > 1)
                else:
                    _prepare_postgresql(connection, of_several=len(targets) > 1)
            except dialect.loaded_dbapi.Error as err:
                failure = err
                if not mariadb and "FATAL:" in str(err) and _is_rejecting({**params, **own}):
                    setattr(err, NOT_NOW, True)
            else:
                good[0] = at
                _open_connections.setdefault(engine, WeakSet()).add(connection)
                return connection
        raise failure or AssertionError("no target")

    if not mariadb:

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            # In the transaction: a pooler has no session that could keep it, and refuses it as a startup parameter.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")

    @event.listens_for(engine, "handle_error")
    def _judge(context: Any) -> None:
        if is_not_ready(context.original_exception) or is_read_only(context.original_exception):
            context.is_disconnect = True  # the next connection may be made to another node

    return engine


def cut(engine: Engine) -> None:
    """Shut the sockets of all connections of an engine, so that a thread that reads from one gets an error now. A file
    has no sockets.
    """
    for connection in list(_open_connections.get(engine, ())):
        with suppress(Exception):  # it may be closed at this very moment
            number = connection.fileno() if hasattr(connection, "fileno") else connection._sock.fileno()
            with socket.socket(fileno=os.dup(number)) as shared:
                shared.shutdown(socket.SHUT_RDWR)


_open_connections: WeakKeyDictionary[Engine, WeakSet[Any]] = WeakKeyDictionary()


def _mariadb() -> dict[str, Any]:
    session = f"SET SESSION innodb_lock_wait_timeout = {LOCK_TIMEOUT_S}, sql_mode = 'TRADITIONAL', completion_type = 0"
    timeouts = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": CONNECT_TIMEOUT_S,  # until it is connected; _prepare_mariadb
        "write_timeout": ANSWER_TIMEOUT_S,
    }
    return {"charset": "utf8mb4", "init_command": session, **timeouts}


def _postgresql() -> dict[str, Any]:
    keep = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    return {"connect_timeout": CONNECT_TIMEOUT_S, "client_encoding": "utf8", **keep}


def _target(engine: Engine, url: URL) -> tuple[Any, dict[str, Any]]:
    """Return how a server is connected to. Numbers that psycopg wants as numbers are converted. Raises DatabaseError."""
    args, params = engine.dialect.create_connect_args(url)
    own = dict(params)
    threshold = own.get("prepare_threshold")
    if isinstance(threshold, str):
        if threshold.lower() not in ("none", "") and not threshold.isdigit():
            raise DatabaseError(f"[aggregator] database: prepare_threshold={threshold} is no number, nor None")
        own["prepare_threshold"] = int(threshold) if threshold.isdigit() else None
    return args, own


def _is_rejecting(params: dict[str, Any]) -> bool:
    """Return whether a PostgreSQL server answers, but takes no connections now, because it starts or stops.

    The error of a refused connection has no SQLSTATE, only words in the server's own language (lc_messages). Only a
    server that has just answered may be asked: libpq lets no other thread run while it waits.
    """
    from psycopg import conninfo, pq  # noqa: PLC0415  other kinds of database do without this driver

    given = {name: value for name, value in params.items() if name not in OF_PSYCOPG} | {"connect_timeout": 2}
    return pq.PGconn.ping(conninfo.make_conninfo(**given).encode()) == pq.Ping.REJECT


def _prepare_postgresql(connection: Any, of_several: bool) -> None:
    """Refuse a database that cannot hold every name; do without prepared statements where a pooler stands before it;
    have READ COMMITTED, whatever the database's default is (see _prepare_mariadb).

    A pooler (PgBouncer) hands a transaction to any of the server's processes, which do not know what another prepared.
    Of several servers, one that takes no writes raises the driver's error, so that the next one is tried.
    """
    threshold, connection.prepare_threshold = connection.prepare_threshold, None
    settings = "current_setting('server_encoding'), current_setting('transaction_read_only')"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_backend_pid(), current_database(), {settings}")
        process, name, encoding, read_only = cursor.fetchone()
    connection.rollback()
    connection.isolation_level = PG_READ_COMMITTED
    if of_several and read_only == "on":
        connection.close()
        raise type(connection).OperationalError("the server takes no writes")
    if encoding != "UTF8":
        connection.close()
        made = f"CREATE DATABASE {name} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        raise DatabaseError(
            f"the database {name} has the encoding {encoding}, which has no place for every name; make it anew: {made}"
        )
    if process == connection.info.backend_pid:
        connection.prepare_threshold = threshold


def _prepare_mariadb(connection: Any, of_several: bool) -> None:
    """Set READ COMMITTED: a writer's statements must see what others committed while it waited for its turn.

    A Galera node that is joining, or cut off from the others, takes connections but no statements on tables; a replica
    takes no writes. Of several servers, such a one raises the driver's error here, so that another one is tried.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute("SELECT @@max_allowed_packet, @@read_only")
        most_bytes, read_only = cursor.fetchone()
        cursor.execute("SHOW STATUS LIKE 'wsrep_ready'")
        row = cursor.fetchone()
    setattr(connection, STATEMENT_LIMIT, (most_bytes - REST_OF_STATEMENT) // 4)  # a character is up to four bytes
    connection._read_timeout = ANSWER_TIMEOUT_S
    if of_several and row is not None and row[1] != "ON":
        connection.close()
        raise type(connection).OperationalError(1047, "WSREP has not yet prepared node for application use")
    if of_several and str(read_only) not in ("0", "OFF"):
        connection.close()
        raise type(connection).OperationalError(1290, "the server runs with --read-only")


@compiles(CreateTable, *MARIADB)
def _create_table(element: CreateTable, compiler: Any, **options: Any) -> str:
    made = compiler.visit_create_table(element, **options).rstrip()
    return f"{made} ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"


@compiles(Text, *MARIADB)
def _text(_element: Text, _compiler: Any, **_options: Any) -> str:
    return "MEDIUMTEXT"
