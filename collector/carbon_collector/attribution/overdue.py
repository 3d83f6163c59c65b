# SPDX-License-Identifier: MIT
"""Divides the energy of counters that could not be read for a while. A counter goes on counting meanwhile, and what it
counted belongs to the jobs of that time. No I/O.

A driver may hang for seconds, and a zone may disappear and return with its CPU. The intervals are then kept unchanged.
When the counter is readable again, its energy is divided over them by their length. Nothing of a kept interval is
forgotten, so intervals are kept for a minute at most, and in memory only. After that, or after a restart of the
collector, they are a gap. The minute begins when the first interval is kept: that interval itself may be long, because
no collector ran, and a counter that has wrapped in it is believed again a moment later.
"""

from __future__ import annotations

from ..apportion import apportion
from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..meters.base import INTEGRATED
from .counter import BEHIND, NOT_MOVED, Counter, delta

if TYPE_CHECKING:
    from ..meters.base import Domain
    from .snapshot import Snapshot
    from .work import Piece, Work

PATIENCE_US = 60_000_000
"""Longest time for which rows are kept back for a counter that cannot be read."""


class LastRead(NamedTuple):
    """The last reading of a domain before it could not be read, in microjoules; its time, and that of the first try that
    failed, on the monotonic clock.
    """

    uj: int
    at_us: int
    failed_us: int


class Blind(NamedTuple):
    """A kept interval and who was there. `unknown`: domains without an energy; `awaited`: those that may still get one."""

    work: Work
    pieces: list[Piece]
    awaited: set[str]
    unknown: set[str]

    @property
    def length_us(self) -> int:
        """Return the length of the interval in microseconds."""
        return sum(piece.length for piece in self.pieces)


class Settled(NamedTuple):
    """What a counter counted while it could not be read: by kept interval, and in the last interval (microjoules)."""

    late: list[tuple[Blind, int]]
    current_uj: int


class Overdue:
    """The kept intervals, and the last reading of each unreadable domain."""

    def __init__(self) -> None:
        self.waiting: list[Blind] = []
        self._since: dict[str, LastRead] = {}

    def clear(self) -> None:
        """Give up all kept intervals."""
        self.waiting = []
        self._since = {}

    def add(self, domains: dict[str, Domain], last: Snapshot, now: Snapshot, work: Work, pieces: list[Piece]) -> None:
        """Keep an interval if a domain that was read before cannot be read now, or is awaited already."""
        passing = {n for n, energy in work.energies.items() if energy.reason.endswith((BEHIND, NOT_MOVED))}
        awaited = passing | {name for name, domain in domains.items() if self._is_awaited(domain, last, now)}
        for name in self._since.keys() - awaited:
            del self._since[name]
        for blind in self.waiting:
            blind.awaited.intersection_update(awaited)
        if awaited:
            unknown = {name for name, energy in work.energies.items() if energy.reason}
            self.waiting.append(Blind(work, pieces, awaited, unknown))
        self.waiting = [blind for blind in self.waiting if blind.awaited]

    def _is_awaited(self, domain: Domain, last: Snapshot, now: Snapshot) -> bool:
        before, after = last.readings.get(domain.name), now.readings.get(domain.name)
        if not _counts_on(domain) or (after is not None and after.energy_uj is not None):
            return False
        if before is not None and before.energy_uj is not None:
            self._since[domain.name] = LastRead(before.energy_uj, last.mono_us, now.mono_us)
        since = self._since.get(domain.name)
        return since is not None and now.mono_us - since.failed_us <= PATIENCE_US

    def give_up(self, name: str) -> None:
        """Give up what a domain counted while it was not read: it was reset meanwhile."""
        self._since.pop(name, None)
        for blind in self.waiting:
            blind.awaited.discard(name)

    def settle(self, domain: Domain, uj: int, at_us: int, elapsed_us: int) -> tuple[Settled | None, str]:
        """Divide what a domain counted while it could not be read; `None` and the reason where that cannot be known.

        `uj` and `at_us` are the reading that ends it and its time, `elapsed_us` the part of the last interval before
        it. An empty reason means that nothing was kept for this domain.
        """
        since = self._since.get(domain.name)
        if since is None:
            return None, ""
        counted = delta(Counter(domain.range_uj, domain.max_watts), since.uj, uj, at_us - since.at_us)
        if counted.energy_uj is None:
            return None, counted.reason
        return self.caught_up(domain.name, counted.energy_uj, elapsed_us), ""

    def caught_up(self, name: str, energy_uj: int, elapsed_us: int) -> Settled:
        """Divide an energy over the kept intervals that await this domain and the last one, of `elapsed_us`."""
        blinds = [blind for blind in self.waiting if name in blind.awaited]
        weights = [*(blind.length_us for blind in blinds), elapsed_us]
        *late, current = apportion(energy_uj, weights if any(weights) else [*weights[:-1], 1])
        for blind in blinds:
            blind.awaited.discard(name)
            blind.unknown.discard(name)
        return Settled(list(zip(blinds, late)), current)


def _counts_on(domain: Domain) -> bool:
    """Return whether a counter counts while it is not read. An integral does not. A rest does not, because the parts
    that are taken off are not known.
    """
    return domain.method != INTEGRATED and not domain.contains
