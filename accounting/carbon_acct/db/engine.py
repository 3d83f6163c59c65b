# SPDX-License-Identifier: MIT
"""The accounting database: opened when it is first used, and handing out transactions that read or write.

One transaction writes at a time, on every kind of database. SQLite has it so anyhow; on a server a writer takes
its turn by changing one row first, whose lock the next writer waits for, and which in a Galera cluster, where
no lock reaches another node, makes all but the first of two commits fail and be tried again. So what is summed
from rows that several nodes deliver at once is summed from all of them.
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
"""A reader sees one state of the database, whatever is committed meanwhile. SQLite has it so anyhow."""

OPEN_AGAIN_S = 1.0
"""A database that is away is looked for so often, however many ask for it."""

T = TypeVar("T")


class Database:
    """One accounting database. `prepare` runs in its first transaction, each time that the program starts."""

    def __init__(self, url: str, prepare: Callable[[Session], None] | None = None) -> None:
        urls = connect.parse_urls(url)
        self.engine = connect.engine_of(urls)
        self.shown = " ".join(one.render_as_string(hide_password=True) for one in urls)
        """The URLs without their passwords."""
        self._prepare = prepare
        self._opening = threading.Lock()
        self._is_open = self._is_away = False
        self._failure: tuple[float, DatabaseError] | None = None

    def open(self) -> None:
        """Make or check its tables, if that has not been done; `read`, `write` and `run` do so. Raises DatabaseError.

        AwayError: its server does not answer; what comes later tries again.
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
    def read(self) -> Iterator[Session]:
        """A consistent view for queries; nothing is written. Raises DatabaseError."""
        self.open()
        with self._errors(), Session(self.engine) as session:
            if not self._is_file:
                session.execute(SNAPSHOT)
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: all of it is stored when the block ends, or nothing. Raises DatabaseError.

        It is tried once; `run` is what programs use where others write as well.
        """
        self.open()
        with self._errors(), self._transaction() as session:
            yield session

    def run(self, work: Callable[[Session], T]) -> T:
        """The result of `work` in one transaction, which is tried again if it meets another or loses its connection.

        `work` may run several times, and once more after it was stored: it must then find that and change nothing.
        Raises DatabaseError.
        """
        self.open()

        def attempt() -> T:
            with self._transaction() as session:
                return work(session)

        with self._errors():
            return faults.retry(attempt)

    def schema(self) -> str | None:
        """The schema of the tables that are there; None: there are none. Raises DatabaseError."""
        with self._errors(), self.engine.connect() as connection:
            return schema.present(connection)

    def upgrade(self) -> str | None:
        """Bring the tables up to this program's schema, a server's as well; the schema before. Raises DatabaseError."""
        with self._errors():
            return schema.ensure(self.engine, self.shown, upgrade=True)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

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
        """DatabaseError instead of the driver's errors; a server that goes and comes back is told once each."""
        try:
            yield
        except SQLAlchemyError as err:
            away = faults.is_away(err)
            reason = f"{self.shown}: {connect.one_line(err)}"
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
    """[aggregator] database, else a SQLite file: connect.DEFAULT_FILE, or one under [collector] state_dir where that is set."""
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
