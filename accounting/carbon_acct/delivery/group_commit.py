# SPDX-License-Identifier: MIT
"""Group commit: stores the segments that many nodes deliver at the same time in one transaction.

A thread that arrives while a transaction is running queues its segment. When the transaction ends, the thread at the
head of the queue stores every queued segment in one transaction and wakes each waiter with its own result. Waking them
all at once matters: woken one by one, nodes would return too late for the next batch, and batches would shrink to two.
If a batch fails, each of its segments is stored in a transaction of its own, so a bad segment takes no good one with
it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from carbon_acct.db.engine import Database
from carbon_acct.delivery.segment import ParsedSegment
from carbon_acct.delivery.store import Receipt, store_segments
from carbon_acct.errors import AwayError
from carbon_acct.factors.slot_factor import SiteTerms

INTERRUPTED = RuntimeError("storing was interrupted")
MAX_RECORDS = 5000
"""The number of records in one transaction. Other deliveries wait for it, for a second or so."""


@dataclass(eq=False)
class _Waiting:
    """A segment in the queue."""

    segment: ParsedSegment
    answer: Receipt | Exception | None = field(default=None)
    woken: threading.Event = field(default_factory=threading.Event)
    """Set when the answer is there, or when this thread is to store the next batch."""


class GroupCommit:
    """The queue of one aggregator's deliveries. `store` is called from many threads."""

    def __init__(self, database: Database, terms: SiteTerms) -> None:
        self._database = database
        self._terms = terms
        self._waiting: list[_Waiting] = []
        self._is_storing = False
        self._lock = threading.Lock()

    def store(self, segment: ParsedSegment, now: int) -> Receipt:
        """Store a segment and return its receipt; the segment is committed by then. Raises RefusedError and
        DatabaseError.
        """
        mine = _Waiting(segment)
        with self._lock:
            self._waiting.append(mine)
            is_first, self._is_storing = not self._is_storing, True
        if not is_first:
            mine.woken.wait()
        if mine.answer is None:
            self._store_next(now)
        if isinstance(mine.answer, Receipt):
            return mine.answer
        raise mine.answer or INTERRUPTED

    def _store_next(self, now: int) -> None:
        """Store the batch that has waited longest, and wake the first of the threads that are left."""
        taken = self._next()
        try:
            self._store(taken, now)
        finally:
            for waiting in taken:
                waiting.answer = waiting.answer or INTERRUPTED
                waiting.woken.set()
            with self._lock:
                self._is_storing = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].woken.set()

    def _next(self) -> list[_Waiting]:
        """Take the segments that have waited longest from the queue, up to MAX_RECORDS, and return them."""
        with self._lock:
            many, records = 1, len(self._waiting[0].segment.records)
            while many < len(self._waiting):
                records += len(self._waiting[many].segment.records)
                if records > MAX_RECORDS:
                    break
                many += 1
            taken, self._waiting = self._waiting[:many], self._waiting[many:]
        return taken

    def _store(self, taken: list[_Waiting], now: int) -> None:
        segments = [waiting.segment for waiting in taken]
        answers: Sequence[Receipt | Exception]
        try:
            answers = self._database.run(lambda session: store_segments(session, segments, self._terms, now))
        except AwayError as err:
            answers = [err] * len(taken)
        except Exception as err:  # noqa: BLE001  whatever it is, it is the answer to one of them
            if len(taken) > 1:
                for waiting in taken:
                    self._store([waiting], now)
                return
            answers = [err]
        for waiting, answer in zip(taken, answers, strict=True):
            waiting.answer = answer
