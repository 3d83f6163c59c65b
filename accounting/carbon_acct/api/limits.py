# SPDX-License-Identifier: MIT
"""Limits how much one caller may ask of the aggregator, so that none delays the others."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from anyio import CapacityLimiter, to_thread

from carbon_acct.errors import RefusedError

T = TypeVar("T")
MAX_CALLERS = 10_000


class Rate(NamedTuple):
    """A limit: the number of requests at once, and the number a second from then on."""

    burst: int
    per_s: float


USERS = Rate(60, 10.0)
ROOT = Rate(2000, 500.0)


@dataclass(frozen=True)
class Limits:
    """What the aggregator grants. A node that empties the spool of a week sends its segments one after the other."""

    users: Rate = USERS
    root: Rate = ROOT
    query_s: float = 30.0
    """After this a query is given up: nobody waits for it any more."""
    rows: int = 100_000
    """Jobs in one answer: about 100 MB."""
    head_s: float = 10.0
    """A connection that has not sent the head of a request by then is closed."""
    body_s: float = 60.0
    send_s: float = 60.0
    """A client that takes nothing of its answer for so long has gone."""
    deliveries_each: int = 2
    """Segments of one host that are taken at the same time."""
    waiting: int = 1024
    """Connections without a request; of more the oldest are closed, whoever made them."""
    waiting_each: int = 128
    """The same for one address."""
    head_bytes: int = 64 * 1024


class Rates:
    """A token bucket for each caller. The buckets of callers that have been silent longest are dropped first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, caller: Hashable, rate: Rate) -> float:
        """Take a token: 0, or seconds until there is one."""
        now = self._clock()
        tokens, before = self._buckets.pop(caller, (float(rate.burst), now))
        tokens = min(float(rate.burst), tokens + (now - before) * rate.per_s)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / rate.per_s
        self._buckets[caller] = (tokens - (1 if tokens >= 1 else 0), now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return wait


def check_rate(rates: Rates, caller: Hashable, rate: Rate) -> None:
    """Raises RefusedError 429 for a caller that asks too often."""
    wait = math.ceil(rates.take(caller, rate))
    if wait:
        raise RefusedError(429, f"too many requests: {rate.per_s:g} a second are allowed; wait {wait} s", "rate", wait)


@dataclass
class _Queue:
    """One caller's turns in a lane, and how many requests of that caller are in it."""

    turn: asyncio.Semaphore
    inside: int = 0


@dataclass
class Lane:
    """Threads for one kind of work, so that it waits for no other kind.

    One caller holds at most `each` of the threads. More requests of the same caller wait, at most `waiting` of them.
    """

    threads: int
    each: int
    waiting: int
    _limiter: CapacityLimiter = field(init=False)
    _queues: dict[Hashable, _Queue] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._limiter = CapacityLimiter(self.threads)

    async def run(self, caller: Hashable, work: Callable[[], T]) -> T:
        """What `work` returns, in a thread. Raises RefusedError 429 where too many of the caller's requests wait."""
        queue = self._queues.setdefault(caller, _Queue(asyncio.Semaphore(self.each)))
        if queue.inside >= self.each + self.waiting:
            raise RefusedError(429, "too many of your requests wait already; let them end first", "queue", 1)
        queue.inside += 1
        try:
            async with queue.turn:
                return await to_thread.run_sync(work, limiter=self._limiter)
        finally:
            queue.inside -= 1
            if not queue.inside:
                del self._queues[caller]


class Lanes:
    """The kinds of work. Together they use fewer connections than there are (db.connect.CONNECTIONS).

    Of the deliveries one at a time stores for all that wait (`delivery.group_commit`).
    """

    def __init__(self, limits: Limits) -> None:
        self.credentials = Lane(threads=8, each=4, waiting=1000)
        self.deliveries = Lane(threads=32, each=limits.deliveries_each, waiting=100)
        self.queries = Lane(threads=6, each=3, waiting=20)
        self.syncs = Lane(threads=1, each=1, waiting=4)
        self.health = Lane(threads=1, each=1, waiting=20)
