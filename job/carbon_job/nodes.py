# SPDX-License-Identifier: MIT
"""Combines the figures of several nodes: their sum if the ranks can exchange figures, else a marked extrapolation.

A live file is one node's. The first process of each node reads it, and rank 0 reports. Nodes are added up at the marks
of epochs and at the end, where each has an exact figure. What lies between is scaled in proportion.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from . import exchange
from .lean import NamedTuple
from .place import Place
from .timeline import SLOT_S

WAIT_S = 3.0
"""The seconds to wait at the end for nodes that have not sent their last figure."""
POLL_S = 0.02


class Factor(NamedTuple):
    """The energy of all nodes over the energy of this one."""

    factor: float
    extrapolated: bool


class Nodes:
    """The nodes of one run. `reduce` is the user's sum over ranks, which all ranks call equally often."""

    def __init__(self, place: Place, reduce: Callable[[float], float] | None) -> None:
        self.count, self._place, self._reduce = place.nodes, place, reduce
        self._way: exchange.Exchange | None = None
        self._own: dict[int, float] = {0: 0.0}
        self._all: dict[int, float] = {0: 0.0}
        self._calls = 0
        self._learned: float | None = None

    @property
    def several(self) -> bool:
        """Return whether the job has several nodes."""
        return self.count > 1

    @property
    def hopeful(self) -> bool:
        """Return whether the other nodes can send their figures: through the user's `reduce`, or a way that
        was found.
        """
        return self._reduce is not None or (self._way is not None and bool(self._way.name))

    def note(self, mark: int, energy_uj: float | None) -> None:
        """Note what this node used up to a mark (the number of the epoch that ended, or END). Publish it if there is a
        way to exchange figures and no `reduce`.
        """
        self._own[mark] = math.nan if energy_uj is None else energy_uj
        if self.several and self._reduce is None and energy_uj is not None:
            if self._way is None or not self._way.name:
                self._way = exchange.find(self._place)  # the program may have opened it by now
            self._way.publish(mark, energy_uj)

    def factor(self, mark: int, before: int = 0) -> Factor | None:
        """Return the factor between two marks, or None if it is not known yet."""
        here, there = self._total(mark), self._total(before)
        own = self._own.get(mark, math.nan) - self._own.get(before, math.nan)
        if here is None or there is None or not own > 0:
            return None
        return Factor((here - there) / own, False)

    def learn(
        self, begin_s: float, slots: Sequence[tuple[int, float]], ask: Callable[[int, int], float | None]
    ) -> None:
        """Learn the factor from what the aggregator knows of the slots that are over since `begin_s`.

        `slots` has the microjoules of this node by slot. `ask` returns the joules of all nodes between two times, or None
        if they have not all been delivered.
        """
        now_s = time.time()
        for late in (0, 1):
            own = {slot: uj for slot, uj in slots if slot >= begin_s and slot + SLOT_S * (1 + late) <= now_s}
            whole = bool(own) and (max(own) - min(own)) // SLOT_S + 1 == len(own)
            if whole and sum(own.values()) > 0:
                energy_j = ask(min(own), max(own) + SLOT_S)
                if energy_j is not None:
                    factor = energy_j * 1e6 / sum(own.values())
                    self._learned = factor if factor >= 1 else self._learned  # else it is not the same time
                    return

    def guess(self) -> Factor:
        """Return the factor for nodes that send nothing: the last known one, else the one of the slots that the
        aggregator knows, else they are assumed to be like this node.
        """
        for mark in sorted(self._all, reverse=True):
            own = self._own.get(mark, 0.0)
            if own > 0 and not math.isnan(self._all[mark]):
                return Factor(self._all[mark] / own, True)
        if self._learned is not None:
            return Factor(self._learned, True)
        return Factor(float(self.count), self.several)

    def _total(self, mark: int) -> float | None:
        if mark not in self._all and self._way is not None:
            told = self._way.collect(mark)
            if len(told) == self.count:
                self._all[mark] = sum(told.values())
        total = self._all.get(mark)
        return None if total is None or math.isnan(total) else total

    # The user's reduce, in the program's thread: the same number of calls on every rank.

    def step(self, wait_s: float) -> None:
        """Call the user's `reduce` at an epoch's mark, for the epoch before the one that ends there."""
        self._calls += 1
        if self._reduce is not None and self._calls > 2:
            self._sum(self._calls - 2, wait_s)

    def last(self, wait_s: float) -> None:
        """Call the user's `reduce` at the end, for the last two epochs and for the run."""
        if self._reduce is not None:
            for mark in range(max(1, self._calls - 1), self._calls + 1):
                self._sum(mark, wait_s)
            self._sum(exchange.END, wait_s)

    def _sum(self, mark: int, wait_s: float) -> None:
        if self._reduce is None:
            return
        mine = 0.0
        if self._place.local_rank == 0:
            until = time.monotonic() + wait_s
            while mark not in self._own and time.monotonic() < until:
                time.sleep(POLL_S)
            mine = self._own.get(mark, math.nan)
        self._all[mark] = float(self._reduce(mine))
