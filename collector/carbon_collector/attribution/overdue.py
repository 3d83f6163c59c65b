# SPDX-License-Identifier: MIT
"""Energy of counters that could not be read for a while: they went on counting, and what they counted belongs to
whoever was there meanwhile. No I/O.

A driver that hangs for a few seconds, a zone that goes and comes back with its CPU: the intervals are kept as
they were, and booked when the counter is readable again, by their length. Until then nothing of them is forgotten,
so not for long, and in memory only: after that, or after a restart of the collector, they are a gap.
"""

from __future__ import annotations

from ..lean.named import TYPE_CHECKING, NamedTuple
from ..meters.base import INTEGRATED
from .counter import Counter, delta
from .posting import book, cover_late
from .split import apportion

if TYPE_CHECKING:
    from ..meters.base import Domain
    from .account import Account
    from .posting import Piece, Work
    from .snapshot import Snapshot

PATIENCE_US = 60_000_000
"""How long rows are kept back for a counter that is not read."""


class Blind(NamedTuple):
    """An interval in which the domains `unknown` are not known, and who was there; `awaited` may be known yet."""

    work: Work
    pieces: list[Piece]
    awaited: set[str]
    unknown: set[str]


class Overdue:
    """The intervals that wait, and of each unreadable domain its last reading and when that was."""

    def __init__(self) -> None:
        self.waiting: list[Blind] = []
        self._since: dict[str, tuple[int, int]] = {}

    def clear(self) -> None:
        """Nothing waits any more."""
        self.waiting = []
        self._since = {}

    def add(self, account: Account, last: Snapshot, now: Snapshot, work: Work, pieces: list[Piece]) -> None:
        """Keep an interval for the domains that were read before it, or are waited for already, and cannot be now."""
        awaited = {name for name, domain in account.domains.items() if self._is_waited_for(domain, last, now)}
        for name in self._since.keys() - awaited:
            del self._since[name]
        for blind in self.waiting:
            blind.awaited.intersection_update(awaited)
        if awaited:
            unknown = {name for name, energy in work.energies.items() if energy.uj is None}
            self.waiting.append(Blind(work, pieces, awaited, unknown))
        self.waiting = [blind for blind in self.waiting if blind.awaited]

    def _is_waited_for(self, domain: Domain, last: Snapshot, now: Snapshot) -> bool:
        before, after = last.readings.get(domain.name), now.readings.get(domain.name)
        if not _counts_on(domain) or (after is not None and after.energy_uj is not None):
            return False
        if before is not None and before.energy_uj is not None:
            self._since[domain.name] = (before.energy_uj, last.mono_us)
        since = self._since.get(domain.name)
        return since is not None and now.mono_us - since[1] <= PATIENCE_US

    def settle(self, account: Account, domain: Domain, now: Snapshot, elapsed_us: int) -> int | None:
        """Book what a domain counted while it was not read, now that it is; returns what of it belongs to the last
        interval of `elapsed_us`, or `None` where that cannot be known.
        """
        since, after = self._since.get(domain.name), now.readings[domain.name]
        blinds = [blind for blind in self.waiting if domain.name in blind.awaited]
        lengths = [sum(piece.length for piece in blind.pieces) for blind in blinds]
        if since is None or after.energy_uj is None:
            return None
        counted = delta(Counter(domain.range_uj, domain.max_watts), since[0], after.energy_uj, now.mono_us - since[1])
        if counted.energy_uj is None:
            return None
        *late, current = apportion(counted.energy_uj, [*lengths, max(1, elapsed_us)])
        for blind, energy_uj in zip(blinds, late):
            blind.awaited.discard(domain.name)
            blind.unknown.discard(domain.name)
            _book(account, blind, domain, energy_uj)
        return current


def _counts_on(domain: Domain) -> bool:
    """A power that we integrate does not; and what is inside another counter was unknown to it as well."""
    return domain.method != INTEGRATED and not domain.contains


def _book(account: Account, blind: Blind, domain: Domain, energy_uj: int) -> None:
    lengths = [piece.length for piece in blind.pieces]
    parts = apportion(energy_uj, lengths) if any(lengths) else [energy_uj] + [0] * (len(lengths) - 1)
    for piece, part in zip(blind.pieces, parts):
        book(account, blind.work, piece, domain, part)
        cover_late(account, blind.work, piece, domain, blind.unknown)
