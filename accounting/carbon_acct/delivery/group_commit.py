# SPDX-License-Identifier: MIT
"""Stores what many nodes deliver at the same time in one transaction: one wait for the disk, and few statements, for all.

Whoever comes while a transaction runs waits, and the first of those that wait then stores for all of them. Each has
its own answer, and is woken by it alone: one that waited for its turn to see it would not be back in time with the next
segment, and transactions would be of two. Where a transaction of many fails, each is stored in one of its own, so that
a bad segment takes no good ones with it.
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
"""In one transaction: others wait for it, a second or so."""


@dataclass(eq=False)
class _Waiting:
    """A segment that waits to be stored."""

    segment: ParsedSegment
    answer: Receipt | Exception | None = field(default=None)
    woken: threading.Event = field(default_factory=threading.Event)
    """It has its answer; or has none, and stores for all that wait."""


class GroupCommit:
    """The deliveries of one aggregator. `store` is called from many threads."""

    def __init__(self, database: Database, terms: SiteTerms) -> None:
        self._database = database
        self._terms = terms
        self._waiting: list[_Waiting] = []
        self._is_storing = False
        self._lock = threading.Lock()

    def store(self, segment: ParsedSegment, now: int) -> Receipt:
        """Store a segment; it is stored when this returns. Raises RefusedError and DatabaseError."""
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
        """Store those that have waited longest, and let the first of the others go on."""
        taken = self._next()
        try:
            self._store(taken, now)
        finally:
            for one in taken:
                one.answer = one.answer or INTERRUPTED
                one.woken.set()
            with self._lock:
                self._is_storing = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].woken.set()

    def _next(self) -> list[_Waiting]:
        """Those that have waited longest."""
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
        segments = [one.segment for one in taken]
        answers: Sequence[Receipt | Exception]
        try:
            answers = self._database.run(lambda session: store_segments(session, segments, self._terms, now))
        except AwayError as err:
            answers = [err] * len(taken)
        except Exception as err:  # noqa: BLE001  whatever it is, it is the answer to one of them
            if len(taken) > 1:
                for one in taken:
                    self._store([one], now)
                return
            answers = [err]
        for one, answer in zip(taken, answers, strict=True):
            one.answer = answer
