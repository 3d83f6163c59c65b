# SPDX-License-Identifier: MIT
"""Group commit: stores the segments that many nodes deliver at the same time in one transaction.

One thread reads and stores. A segment that arrives meanwhile waits in the queue, and everything that waits is stored in
the next transaction. A thread for each delivery took more CPU time to take turns than the segments did. When a
transaction of several segments fails, each is stored in a transaction of its own, so that a bad segment takes no good
ones with it.

A segment of many records is stored in several transactions, and the last one holds its receipt. The queue is ordered by
how little a node has delivered lately. So no node waits for more than one part of another's segment.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from carbon_acct.db import meta
from carbon_acct.db.engine import Database
from carbon_acct.delivery.segment import ParsedSegment, RefusedLine
from carbon_acct.delivery.store import Receipt, delivered_before, store_segments
from carbon_acct.errors import AwayError
from carbon_acct.factors.slot_factor import SiteTerms

INTERRUPTED = RuntimeError("storing was interrupted")
MAX_RECORDS = 1000
"""The most records in one transaction."""
PART_RECORDS = 250
"""The most records in one transaction of a segment of more than MAX_RECORDS. Other segments wait for it: on one slow CPU,
a thirtieth of a second.
"""
LATELY_S = 60.0

Read = Callable[[], ParsedSegment]
"""A function that reads a segment. What it raises is the answer to the segment."""


@dataclass(eq=False)
class _Waiting:
    """A segment in the queue. `segment` is None until it is read."""

    node: str
    now: int
    read: Read | None
    segment: ParsedSegment | None = None
    answer: Future[Receipt] = field(default_factory=Future)


class GroupCommit:
    """The queue of one aggregator's deliveries. `deliver` and `store` are called from any thread."""

    def __init__(self, database: Database, terms: SiteTerms) -> None:
        self._database = database
        self._terms = terms
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "store")
        self._lately: Counter[str] = Counter()
        self._lately_since = time.monotonic()

    def deliver(self, node: str, read: Read, now: int) -> Future[Receipt]:
        """Queue a segment of a node, of at most MAX_RECORDS records, and return its future receipt.

        `read` is called in the thread that stores. The future's exception is what `read` raised, RefusedError or
        DatabaseError. A future that is cancelled before its segment is read takes the segment out of the queue.
        """
        return self._queue(_Waiting(node, now, read))

    def store(self, segment: ParsedSegment, now: int) -> Receipt:
        """Store a segment of any size, and return its receipt. Raises RefusedError and DatabaseError."""
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
            return segment.kept(meta.delivered_from(session)).parts(min(PART_RECORDS, MAX_RECORDS))

    def _store_one(self, segment: ParsedSegment, now: int) -> Receipt:
        return self._queue(_Waiting(segment.header.node, now, None, segment)).result()

    def _queue(self, one: _Waiting) -> Future[Receipt]:
        with self._lock:
            self._waiting.append(one)
        self._thread.submit(self._store_next)  # once for each segment, so none is left whatever becomes of others
        return one.answer

    def _store_next(self) -> None:
        """Store the next batch, or nothing if the one before took all."""
        taken: list[_Waiting] = []
        try:
            self._take(taken)
            self._store(taken)
        finally:
            for waiting in taken:
                if not waiting.answer.done():
                    waiting.answer.set_exception(INTERRUPTED)

    def _take(self, taken: list[_Waiting]) -> None:
        """Append to `taken` the segments to store next: those of the nodes that delivered least recently, and of these
        the ones that waited longest.
        """
        with self._lock:
            if time.monotonic() - self._lately_since > LATELY_S:
                self._lately.clear()
                self._lately_since = time.monotonic()
            self._waiting = deque(sorted(self._waiting, key=lambda one: self._lately[one.node]))
        records = 0
        while one := self._first():
            segment = self._read(one)
            if segment is None:
                continue
            records += len(segment.records)
            if taken and records > MAX_RECORDS:
                with self._lock:
                    self._waiting.appendleft(one)
                break
            self._lately[one.node] += 1 + len(segment.records)
            taken.append(one)

    def _first(self) -> _Waiting | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _read(self, one: _Waiting) -> ParsedSegment | None:
        """Return the segment of a delivery, or None where the delivery was cancelled or is answered with an error."""
        if one.read is not None:
            read, one.read = one.read, None
            if not one.answer.set_running_or_notify_cancel():
                return None
            try:
                one.segment = read()
            except Exception as err:  # noqa: BLE001  whatever it is, it is the answer
                self._lately[one.node] += 1
                one.answer.set_exception(err)
        return one.segment

    def _store(self, taken: Sequence[_Waiting]) -> None:
        segments = [waiting.segment for waiting in taken if waiting.segment]
        if not segments:
            return
        now = taken[0].now
        answers: Sequence[Receipt | Exception]
        try:
            answers = self._database.run(lambda session: store_segments(session, segments, self._terms, now))
        except AwayError as err:
            answers = [err] * len(taken)
        except Exception as err:  # noqa: BLE001  whatever it is, it is the answer to one of them
            if len(taken) > 1:
                for waiting in taken:
                    self._store([waiting])
                return
            answers = [err]
        for waiting, answer in zip(taken, answers, strict=True):
            if isinstance(answer, Receipt):
                waiting.answer.set_result(answer)
            else:
                waiting.answer.set_exception(answer)
