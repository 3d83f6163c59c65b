# SPDX-License-Identifier: MIT
"""Group commit: stores the segments that many nodes deliver at the same time in one transaction.

A thread that arrives while a transaction is running queues its segment. When the transaction ends, the thread at the
head of the queue stores a whole batch in the next one, and wakes each waiting thread with its own answer. They are
woken all at once, because nodes whose threads took turns would return too late for the next batch, and batches would
shrink to two. When a transaction of several segments fails, each is stored in a transaction of its own, so that a bad
segment takes no good ones with it.

A segment of many records is stored in several transactions, and the last one holds its receipt. The queue is ordered by
how little a node has delivered lately. So no node waits for more than one part of another's segment.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from carbon_acct.db import meta
from carbon_acct.db.engine import Database
from carbon_acct.delivery.segment import ParsedSegment, RefusedLine
from carbon_acct.delivery.store import Receipt, delivered_before, store_segments
from carbon_acct.errors import AwayError
from carbon_acct.factors.slot_factor import SiteTerms

INTERRUPTED = RuntimeError("storing was interrupted")
MAX_RECORDS = 1000
"""The most records in one transaction, which takes about a quarter of a second. Other segments wait for it."""
LATELY_S = 60.0


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
        self._lately: Counter[str] = Counter()
        self._lately_since = time.monotonic()

    def store(self, segment: ParsedSegment, now: int) -> Receipt:
        """Store a segment, and return its receipt. Raises RefusedError and DatabaseError."""
        *parts, last = self._parts(segment)
        refused: list[RefusedLine] = []
        for part in parts:
            refused += self._store_one(part, now).refused
        return self._store_one(last.refusing(refused), now)

    def _parts(self, segment: ParsedSegment) -> list[ParsedSegment]:
        if len(segment.records) <= MAX_RECORDS:
            return [segment]
        with self._database.read() as session:
            if delivered_before(session, segment):
                return [segment]
            return segment.kept(meta.delivered_from(session)).parts(MAX_RECORDS)

    def _store_one(self, segment: ParsedSegment, now: int) -> Receipt:
        mine = _Waiting(segment)
        with self._lock:
            self._waiting.append(mine)
            is_first, self._is_storing = not self._is_storing, True
        if not is_first:
            mine.woken.wait()
        while mine.answer is None:  # it is not always among those that come next
            mine.woken.clear()
            self._store_next(now)
            mine.woken.wait()
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
        """Return the segments to store next: those of the nodes that delivered least recently, and of these the ones
        that waited longest.
        """
        with self._lock:
            if time.monotonic() - self._lately_since > LATELY_S:
                self._lately.clear()
                self._lately_since = time.monotonic()
            self._waiting.sort(key=lambda one: self._lately[one.segment.header.node])
            many, records = 1, len(self._waiting[0].segment.records)
            while many < len(self._waiting):
                records += len(self._waiting[many].segment.records)
                if records > MAX_RECORDS:
                    break
                many += 1
            taken, self._waiting = self._waiting[:many], self._waiting[many:]
            for one in taken:
                self._lately[one.segment.header.node] += 1 + len(one.segment.records)
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
