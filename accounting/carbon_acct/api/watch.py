# SPDX-License-Identifier: MIT
"""Watches whether the database answers, so that no request waits for a database that hangs.

A server that was stopped, or a disk that hangs, refuses nothing: a query waits. One thread runs `SELECT 1` again and
again, another checks whether it got its answer. If it did not, requests are refused at once, and the connections of
those that wait are cut. A third thread counts what /metrics shows, which takes long in a large database.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import func, select, text

from carbon_acct.db.engine import Database
from carbon_acct.db.models import Ledger
from carbon_acct.errors import DatabaseError
from carbon_acct.sums import apart

log = logging.getLogger(__name__)

ASK_EVERY_S = 1.0
ANSWER_S = 0.8
"""The most seconds for which a question about health waits. It is answered within a second."""
STALLED_S = 3.0
"""The seconds after which a database that has not answered `SELECT 1` counts as stalled.

They are counted in looks of this process, each at least LOOK_EVERY_S after the one before. Where the process itself gets
no CPU time, its looks are late as well, and the database is not blamed for it.
"""
CUT_S = 10.0
"""The seconds after which the connections are cut that wait for a stalled database."""
LOOK_EVERY_S = 0.25
COUNT_EVERY_S = 60.0

AWAY = "the database does not answer; the aggregator's log says why"


class Watch:
    """The health of the database. `state` and `fresh` may be called at any time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.unmatched: int | None = None
        """The number of unmatched ledgers, counted once a minute; None: not known."""
        self.apart: dict[str, int] = {}
        """The number of rows that count for no job, by reason, counted with `unmatched`."""
        self._problem = ""
        self._answered_at = 0.0
        self._begun = self._done = 0
        self._asked_at: float | None = None
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=run, daemon=True, name=f"database-{name}") for name, run in self._runs()
        ]

    def _runs(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        return ("ask", self._ask), ("look", self._look), ("count", self._count)

    def start(self) -> None:
        """Watch in the background until `stop`."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the watch. A query that still waits for its answer is abandoned."""
        self._stop.set()
        self._wanted.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2)

    async def fresh(self) -> str:
        """Return what is wrong with the database now, or an empty text if it answers. This takes less than a second,
        whatever happens.
        """
        wanted = self._begun + 1
        self._wanted.set()
        deadline = time.monotonic() + ANSWER_S
        while self._done < wanted:
            if time.monotonic() > deadline:  # a moment of much work is no fault of the database's
                return self._problem if time.monotonic() - self._answered_at < STALLED_S else AWAY
            await asyncio.sleep(0.01)
        return self._problem

    def _ask(self) -> None:
        while not self._stop.is_set():
            self._wanted.clear()
            self._asked_at = time.monotonic()
            self._begun += 1
            try:
                self._once()
                self._problem, self._answered_at = self._database.problem, time.monotonic()
            except DatabaseError as err:
                log.debug("the database: %s", err)
                self._problem, self.unmatched = self._database.problem or AWAY, None
            except Exception:  # whatever it is, the watch goes on
                log.exception("watching the database")
                self._problem = AWAY
            self._done, self._asked_at = self._begun, None
            self._wanted.wait(ASK_EVERY_S)

    def _once(self) -> None:
        with self._database.read(probe=True) as session:
            session.execute(text("SELECT 1"))

    def _count(self) -> None:
        counted_at = 0.0
        while not self._stop.wait(LOOK_EVERY_S):
            is_due = self.unmatched is None or time.monotonic() - counted_at > COUNT_EVERY_S
            if not is_due or self._problem or not self._answered_at or self._database.stalled:
                continue
            try:
                self._count_once()
                counted_at = time.monotonic()
            except DatabaseError as err:
                log.debug("counting what is unmatched: %s", err)
            except Exception:  # whatever it is, the watch goes on
                log.exception("counting what is unmatched")

    def _count_once(self) -> None:
        with self._database.read() as session:
            query = select(func.count()).select_from(Ledger).where(Ledger.matched_id.is_(None))
            unmatched = session.execute(query).scalar_one()
            self.apart = {one.reason: one.rows for one in apart.sums(session)}
        self.unmatched = unmatched

    def _look(self) -> None:
        silent_s = since_cut_s = 0.0
        before: float | None = None
        while not self._stop.wait(LOOK_EVERY_S):
            asked_at = self._asked_at
            silent_s = silent_s + LOOK_EVERY_S if asked_at is not None and asked_at == before else 0.0
            before = asked_at
            self._tell(silent_s > STALLED_S)
            since_cut_s += LOOK_EVERY_S
            if silent_s > CUT_S and since_cut_s > CUT_S:
                log.warning("%s: connections that wait for it are cut", self._database.shown)
                self._database.cut()
                since_cut_s = 0.0

    def _tell(self, stalled: bool) -> None:
        if stalled and not self._database.stalled:
            log.warning("%s: stands still, and answers nothing; requests are refused meanwhile", self._database.shown)
            self.unmatched = None
        elif self._database.stalled and not stalled and not self._problem:
            log.warning("%s: goes on", self._database.shown)
        elif not stalled:
            stalled = self._database.stalled and bool(self._problem)
        self._database.stalled = stalled
