# SPDX-License-Identifier: MIT
"""Limits how much one caller may ask of the aggregator, so that no caller delays the others."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from anyio import CapacityLimiter, to_thread

from carbon_acct.errors import RefusedError

T = TypeVar("T")
MAX_CALLERS = 10_000
MIB = 1024 * 1024
SPARE = 64
"""The number of extra places for callers who hold none when all places are taken."""


class Rate(NamedTuple):
    """The limit of a rate: the number of requests at once, and the number a second after that."""

    burst: int
    per_s: float


USERS = Rate(60, 10.0)
ROOT = Rate(2000, 500.0)


@dataclass(frozen=True)
class Limits:
    """The limits of the aggregator. They are wide enough for a node that sends the spool of a week without a pause."""

    users: Rate = USERS
    root: Rate = ROOT
    query_s: float = 30.0
    """The seconds after which a query is stopped: nobody waits for its answer any more."""
    rows: int = 5000
    """The most jobs, or ledgers, in a page: about 5 MB."""
    head_s: float = 10.0
    """The seconds after which a connection is closed that has not sent the head of a request."""
    body_s: float = 60.0
    send_s: float = 60.0
    """The seconds after which a client that reads nothing of its answer is taken to be gone."""
    grace_s: float = 10.0
    """The seconds from which on a body must arrive, or an answer be read, at the least rate."""
    least_rate: float = 64 * 1024
    """The least rate in bytes a second."""
    waiting: int = 1024
    """The most connections of unknown callers. Above it the oldest one of the address that has most is closed."""
    waiting_each: int = 128
    """The most connections of unknown callers from one address."""
    requests: int = 1024
    """The most requests of known callers at the same time, at work or waiting for their turn."""
    bodies: int = 96 * MIB
    """The most bytes of bodies that are being received. Above it those of the host that holds most are dropped."""
    answers: int = 128 * MIB
    """The most bytes of answers that have not been read. Above it those of the user who holds most are dropped."""
    answers_each: int = 32 * MIB
    head_bytes: int = 64 * 1024
    head_lines: int = 100
    """The most lines of a head: to read thousands of short ones would hold everybody up."""


class Rates:
    """The token buckets of callers. When there are too many, the bucket of the caller that was silent longest is
    dropped.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, caller: Hashable, rate: Rate) -> float:
        """Take a token. Returns 0, or the seconds until there is one."""
        now = self._clock()
        tokens, before = self._buckets.pop(caller, (float(rate.burst), now))
        tokens = min(float(rate.burst), tokens + (now - before) * rate.per_s)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / rate.per_s
        self._buckets[caller] = (tokens - (1 if tokens >= 1 else 0), now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return wait


def check_rate(rates: Rates, caller: Hashable, rate: Rate) -> None:
    """Raise RefusedError 429 for a caller that asks too often."""
    wait = math.ceil(rates.take(caller, rate))
    if wait:
        raise RefusedError(429, f"too many requests: {rate.per_s:g} a second are allowed; wait {wait} s", "rate", wait)


class Shares:
    """The places for requests, shared among callers. A caller that holds places may take at most half of those that are
    left, so that the next caller finds one.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._inside: Counter[Hashable] = Counter()

    def enter(self, caller: Hashable) -> None:
        """Take a place. Raises RefusedError 429."""
        mine, left = self._inside[caller], self._places - self._inside.total()
        if (mine and 2 * mine > left) or left <= -SPARE:
            raise RefusedError(
                429, "the aggregator is overloaded, also by your requests; let them end first", "queue", 1
            )
        self._inside[caller] += 1

    def leave(self, caller: Hashable) -> None:
        """Give a place back."""
        self._inside[caller] -= 1
        if not self._inside[caller]:
            del self._inside[caller]


class Used:
    """The seconds of threads that each caller used recently. After HALF_LIFE_S they count half."""

    HALF_LIFE_S = 10.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def of(self, caller: Hashable) -> float:
        """Return the seconds that a caller used recently."""
        seconds, at = self._used.get(caller, (0.0, 0.0))
        return seconds * math.pow(0.5, (self._clock() - at) / self.HALF_LIFE_S) if seconds else 0.0

    def add(self, caller: Hashable, seconds: float) -> None:
        """Count seconds that the caller used."""
        total = self.of(caller) + seconds
        self._used.pop(caller, None)
        self._used[caller] = (total, self._clock())
        if len(self._used) > MAX_CALLERS:
            self._used.popitem(last=False)


@dataclass(eq=False)
class _Turn:
    """A request that waits for a thread. `begins` is set when it gets one."""

    caller: Hashable
    begins: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Lane:
    """The threads for one kind of work, so that it waits for no other kind.

    One caller holds at most `each` of the threads. More requests of the same caller wait, at most `waiting` of them.
    The next request to begin is that of the caller who used threads least recently. `light` threads are kept for
    callers that used less than LIGHT_S.
    """

    LIGHT_S = 3.0

    threads: int
    each: int
    waiting: int
    light: int = 0
    _limiter: CapacityLimiter = field(init=False)
    _used: Used = field(init=False, default_factory=Used)
    _inside: Counter[Hashable] = field(init=False, default_factory=Counter)
    _running: Counter[Hashable] = field(init=False, default_factory=Counter)
    _turns: list[_Turn] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._limiter = CapacityLimiter(self.threads)

    async def run(self, caller: Hashable, work: Callable[[], T]) -> T:
        """Return the result of `work`, run in a thread. Raises RefusedError 429 where too many of the caller's requests
        wait.
        """
        if self._inside[caller] >= self.each + self.waiting:
            raise RefusedError(429, "too many of your requests wait already; let them end first", "queue", 1)
        self._inside[caller] += 1
        turn = _Turn(caller)
        self._turns.append(turn)
        self._begin()
        try:
            await turn.begins.wait()
            started = time.monotonic()
            try:
                return await to_thread.run_sync(work, limiter=self._limiter)
            finally:
                self._used.add(caller, time.monotonic() - started)
        finally:
            if turn.begins.is_set():
                _less(self._running, caller)
            else:
                self._turns.remove(turn)
            _less(self._inside, caller)
            self._begin()

    def _begin(self) -> None:
        """Give the free threads to waiting requests."""
        while self._turns and self._running.total() < self.threads:
            ready = [turn for turn in self._turns if self._may_begin(turn.caller)]
            if not ready:
                return
            turn = min(ready, key=lambda one: self._used.of(one.caller))
            self._turns.remove(turn)
            self._running[turn.caller] += 1
            turn.begins.set()

    def _may_begin(self, caller: Hashable) -> bool:
        if self._running[caller] >= self.each:
            return False
        return self._running.total() < self.threads - self.light or self._used.of(caller) < self.LIGHT_S


def _less(counter: Counter[Hashable], caller: Hashable) -> None:
    counter[caller] -= 1
    if not counter[caller]:
        del counter[caller]


class Lanes:
    """The lanes, one for each kind of work. Together they use fewer connections than there are
    (db.connect.CONNECTIONS).

    Segments need no thread: one that exists stores all of them (`delivery.group_commit`). A segment may need 4 KiB of
    memory for each row, so segments of many rows are read one at a time.
    """

    def __init__(self) -> None:
        self.credentials = Lane(threads=8, each=4, waiting=1000)
        self.nodes = Lane(threads=4, each=1, waiting=100)
        self.receipts = Lane(threads=4, each=4, waiting=1000)
        self.large = Lane(threads=1, each=1, waiting=10)
        self.queries = Lane(threads=6, each=2, waiting=20, light=4)
        self.syncs = Lane(threads=1, each=1, waiting=4)
        self.metrics = Lane(threads=1, each=1, waiting=20)
