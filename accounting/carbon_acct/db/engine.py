# SPDX-License-Identifier: MIT
"""The accounting database: opens it on first use, and runs transactions that read or write.

One transaction writes at a time, on every kind of database. SQLite works so by itself. On a server a writer first
changes one row, whose lock the next writer waits for. In a Galera cluster no lock reaches another node; there the
changed row makes all but the first of two commits fail, and they are retried. So what is summed from rows that several
nodes deliver at once is summed from all of them.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import insert, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from carbon_acct.db import connect, faults, schema
from carbon_acct.db.models import Meta
from carbon_acct.errors import AwayError, DatabaseError

if TYPE_CHECKING:
    from carbon_collector.settings import Settings

log = logging.getLogger(__name__)

TURN = "writer"
"""The key in `meta` of the row that a writer changes first."""

SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
"""The statement that gives a reader one state of the database, whatever is committed meanwhile. SQLite does so by
itself.
"""

OPEN_AGAIN_S = 1.0
"""The interval in seconds at which an unreachable database is tried again, however many callers ask for it."""

REPAIR = "put the last `carbon-mgr backup` in its place, or have `sqlite3 FILE .recover` save what is left of it"

T = TypeVar("T")


class Database:
    """One accounting database. `prepare` runs in its first transaction, each time that the program starts."""

    def __init__(self, url: str, prepare: Callable[[Session], None] | None = None) -> None:
        urls = connect.parse_urls(url)
        self.engine = connect.engine_of(urls)
        self.shown = " ".join(each.render_as_string(hide_password=True) for each in urls)
        """The URLs without their passwords."""
        self._prepare = prepare
        self._opening = threading.Lock()
        self._is_open = self._is_away = False
        self._failure: tuple[float, DatabaseError] | None = None
        self.stalled = False
        """It is known to stand still: whoever asks is refused at once."""
        self.damage = ""
        """What is wrong with its file; empty: nothing that is known."""
        self._no_writes = ""

    def open(self) -> None:
        """Create or check the tables, if that has not been done. `read`, `write` and `run` do so themselves. Raises
        DatabaseError.

        AwayError means that the server does not answer; the next call tries again.
        """
        if self._is_open:
            return
        with self._opening:
            if self._is_open:
                return
            if self._failure and time.monotonic() < self._failure[0]:
                raise self._failure[1]
            try:
                with self._errors():
                    faults.retry(self._open)
            except DatabaseError as err:
                self.engine.dispose()
                if self._failure and str(self._failure[1]) != str(err):
                    log.warning("%s", err)  # the first is told by whoever asked first
                self._failure = (time.monotonic() + OPEN_AGAIN_S, err)
                raise
            self._is_open = True
            if self._failure:
                log.warning("%s: answers now", self.shown)

    @contextmanager
    def read(self, probe: bool = False) -> Iterator[Session]:
        """Yield a session with one consistent view, for queries only. `probe` also opens a database that stands still.
        Raises DatabaseError.
        """
        if not probe:
            self._check_stalled()
        self.open()
        with self._errors(), Session(self.engine) as session:
            if not self._is_file:
                session.execute(SNAPSHOT)
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session in one transaction: all of it is stored when the block ends, or nothing. Raises
        DatabaseError.

        It is tried once. Programs use `run`, where others write as well.
        """
        self._check_stalled()
        self.open()
        with self._errors(), self._transaction() as session:
            yield session
        self._no_writes = ""

    def run(self, work: Callable[[Session], T]) -> T:
        """Return the result of `work` in one transaction, which is retried if it conflicts with another or loses its
        connection.

        `work` may run several times, and once more after it was stored. It must then find that out and change nothing.
        Raises DatabaseError.
        """
        self._check_stalled()
        self.open()

        def attempt() -> T:
            self._check_stalled()
            with self._transaction() as session:
                return work(session)

        with self._errors():
            result = faults.retry(attempt)
        self._no_writes = ""
        return result

    def schema(self) -> str | None:
        """Return the schema of the existing tables, or None if there are none. Raises DatabaseError."""
        with self._errors(), self.engine.connect() as connection:
            return schema.present(connection)

    def check_writes(self) -> None:
        """Raise DatabaseError where a server would refuse to store what the aggregator stores. Nothing is changed."""
        with self._errors(), self.engine.connect() as connection, connection.begin() as transaction:
            schema.try_to_write(connection)
            transaction.rollback()

    def upgrade(self) -> str | None:
        """Bring the tables up to this program's schema, a server's as well, and return the schema before. Raises
        DatabaseError.
        """
        with self._errors():
            return schema.ensure(self.engine, self.shown, upgrade=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def cut(self) -> None:
        """Close the connections under whoever waits for them; they are made anew."""
        connect.cut(self.engine)

    def _check_stalled(self) -> None:
        if self.stalled:
            raise AwayError(f"{self.shown}: stands still")

    @property
    def problem(self) -> str:
        """Return what is wrong with it although it answers, and what to do; an empty text: nothing that is known."""
        return self.damage or self._no_writes

    @property
    def _is_file(self) -> bool:
        return connect.is_sqlite(self.engine.url)

    def _open(self) -> None:
        schema.ensure(self.engine, self.shown)
        if self._prepare:
            with self._transaction() as session:
                self._prepare(session)

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self.engine.connect() as connection:
            connection.execution_options(carbon_write=True)
            with Session(connection) as session, session.begin():
                if not self._is_file:
                    _take_turn(session)
                yield session

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the driver's errors into DatabaseError. That a server goes away, and that it comes back, is logged once
        each.
        """
        try:
            yield
        except SQLAlchemyError as err:
            away = faults.is_away(err)
            if faults.is_damaged(err):
                self.damage = (
                    f"the database file is damaged: {connect.one_line(err)}; stop the aggregator, and {REPAIR}"
                )
            if faults.takes_no_writes(err):
                why = f"{connect.one_line(err)}{faults.advice(err)}"
                self._no_writes = f"the database takes no writes: {why}; the nodes keep their rows"
            reason = f"{self.shown}: {connect.one_line(err)}{faults.advice(err)}"
            if away and self._is_open and not self._is_away:
                log.warning("%s; the nodes keep their rows until it answers", reason)
            self._is_away = away
            raise (AwayError if away else DatabaseError)(reason) from err
        if self._is_away:
            self._is_away = False
            if self._is_open:
                log.warning("%s: answers again", self.shown)


def _take_turn(session: Session) -> None:
    me = uuid.uuid4().hex  # a change that changes nothing would not be one to a Galera cluster
    turn = session.connection().execute(update(Meta).where(Meta.key == TURN).values(value=me))
    if not turn.rowcount:
        session.execute(insert(Meta).values(key=TURN, value=me))


def url_of(settings: Settings) -> str:
    """Return [aggregator] database, else the URL of a SQLite file: connect.DEFAULT_FILE, or one in [collector]
    state_dir if that is set.
    """
    given = settings.text("aggregator", "database")
    if given:
        return given
    if settings.origin("collector", "state_dir") != "default":
        return f"sqlite:///{settings.text('collector', 'state_dir')}/carbon-acct.db"
    return f"sqlite:///{connect.DEFAULT_FILE}"


def open_database(settings: Settings) -> Database:
    """Open the site's database. Raises DatabaseError."""
    database = Database(url_of(settings))
    database.open()
    return database
