# SPDX-License-Identifier: MIT
"""Energy of counters that could not be read for a while. A counter goes on counting meanwhile, and what it counted
belongs to whoever was there. No I/O.

A driver may hang for seconds, and a zone may go and come back with its CPU. The intervals are then kept as they were.
When the counter is readable again, its energy is divided over them by their length. Nothing of a kept interval is
forgotten, so intervals are kept for a minute at most, and in memory only. After that, or after a restart of the
collector, they are a gap.
"""

from __future__ import annotations

from ..apportion import apportion
from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..meters.base import INTEGRATED
from .counter import Counter, delta

if TYPE_CHECKING:
    from ..meters.base import Domain
    from .snapshot import Snapshot
    from .work import Piece, Work

PATIENCE_US = 60_000_000
"""Longest time for which rows are kept back for a counter that cannot be read."""


class Blind(NamedTuple):
    """A kept interval and who was there. `unknown`: domains without an energy; `awaited`: those that may still get one."""

    work: Work
    pieces: list[Piece]
    awaited: set[str]
    unknown: set[str]

    @property
    def length_us(self) -> int:
        """Length of the interval in microseconds."""
        return sum(piece.length for piece in self.pieces)


class Settled(NamedTuple):
    """What a counter counted while it could not be read: by kept interval, and in the last interval (microjoules)."""

    late: list[tuple[Blind, int]]
    current_uj: int


class Overdue:
    """The kept intervals, and the last reading of each unreadable domain."""

    def __init__(self) -> None:
        self.waiting: list[Blind] = []
        self._since: dict[str, tuple[int, int]] = {}

    def clear(self) -> None:
        """Give up all kept intervals."""
        self.waiting = []
        self._since = {}

    def add(self, domains: dict[str, Domain], last: Snapshot, now: Snapshot, work: Work, pieces: list[Piece]) -> None:
        """Keep an interval if a domain that was read before cannot be read now, or is awaited already."""
        awaited = {name for name, domain in domains.items() if self._is_awaited(domain, last, now)}
        for name in self._since.keys() - awaited:
            del self._since[name]
        for blind in self.waiting:
            blind.awaited.intersection_update(awaited)
        if awaited:
            unknown = {name for name, energy in work.energies.items() if energy.uj is None}
            self.waiting.append(Blind(work, pieces, awaited, unknown))
        self.waiting = [blind for blind in self.waiting if blind.awaited]

    def _is_awaited(self, domain: Domain, last: Snapshot, now: Snapshot) -> bool:
        before, after = last.readings.get(domain.name), now.readings.get(domain.name)
        if not _counts_on(domain) or (after is not None and after.energy_uj is not None):
            return False
        if before is not None and before.energy_uj is not None:
            self._since[domain.name] = (before.energy_uj, last.mono_us)
        since = self._since.get(domain.name)
        return since is not None and now.mono_us - since[1] <= PATIENCE_US

    def settle(self, domain: Domain, now: Snapshot, elapsed_us: int) -> Settled | None:
        """Divide what a domain counted while it could not be read; `None` where that cannot be known.

        `elapsed_us` is the length of the last interval, at whose end the domain is readable again.
        """
        since, after = self._since.get(domain.name), now.readings[domain.name]
        if since is None or after.energy_uj is None:
            return None
        counted = delta(Counter(domain.range_uj, domain.max_watts), since[0], after.energy_uj, now.mono_us - since[1])
        if counted.energy_uj is None:
            return None
        blinds = [blind for blind in self.waiting if domain.name in blind.awaited]
        *late, current = apportion(counted.energy_uj, [*(b.length_us for b in blinds), max(1, elapsed_us)])
        for blind in blinds:
            blind.awaited.discard(domain.name)
            blind.unknown.discard(domain.name)
        return Settled(list(zip(blinds, late)), current)


def _counts_on(domain: Domain) -> bool:
    """Whether a counter counts while it is not read. An integral does not; nor is a rest known whose parts were not."""
    return domain.method != INTEGRATED and not domain.contains
