# SPDX-License-Identifier: MIT
"""Opens the database, brings its schema up to date, and hands out transactions that read or write.

SQLite needs care that servers do not: WAL lets readers go on while a segment is stored, synchronous=FULL
keeps an acknowledged segment through a power cut (https://sqlite.org/pragma.html#pragma_synchronous: NORMAL
in WAL may lose the last commits), and a writer must say so at BEGIN, because a reader that turns into a
writer fails at once where it should wait.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from carbon_acct.errors import DatabaseError

if TYPE_CHECKING:
    from carbon_collector.settings import Settings

FILE_NAME = "carbon-acct.db"
BUSY_TIMEOUT_S = 30


class Database:
    """One accounting database. `read` and `write` give sessions in one transaction each."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view for queries; nothing is written."""
        with _as_database_error(self.url), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: all of it is stored when the block ends, or nothing. Raises DatabaseError."""
        with _as_database_error(self.url), self.engine.connect() as connection:
            connection.execution_options(carbon_write=True)
            with Session(connection) as session, session.begin():
                yield session

    def upgrade(self) -> None:
        """Make the tables, or bring them up to this program's schema. Raises DatabaseError."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with _as_database_error(self.url), self.engine.connect() as connection:
            connection.execution_options(carbon_write=True)
            with connection.begin():
                config.attributes["connection"] = connection
                try:
                    command.upgrade(config, "head")
                except CommandError as err:
                    raise DatabaseError(
                        f"{self.shown}: its schema is newer than this program ({err}); install the newer release"
                    ) from err

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)


def url_of(settings: Settings) -> str:
    """[aggregator] database, else the SQLite file under [collector] state_dir."""
    given = settings.text("aggregator", "database")
    return given or f"sqlite:///{settings.text('collector', 'state_dir')}/{FILE_NAME}"


def open_database(settings: Settings) -> Database:
    """Open the site's database and bring its schema up to date. Raises DatabaseError."""
    database = Database(url_of(settings))
    database.upgrade()
    return database


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            if parsed.database and parsed.database != ":memory:":
                _make_private(Path(parsed.database))
            return _sqlite(url)
        return create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, ImportError, SQLAlchemyError) as err:
        raise DatabaseError(f"[aggregator] database: not a database URL that can be used: {_line(err)}") from err
    except OSError as err:
        raise DatabaseError(f"[aggregator] database: {err}") from err


def _make_private(path: Path) -> None:
    """SQLite gives its files the mode of the database's: everybody's jobs are in it, whatever the umask."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})

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


@contextmanager
def _as_database_error(url: str) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as err:
        shown = make_url(url).render_as_string(hide_password=True)
        raise DatabaseError(f"{shown}: {_line(err)}") from err


def _line(err: Exception) -> str:
    origin = getattr(err, "orig", None) or err
    return " ".join(str(origin).split())[:300]
