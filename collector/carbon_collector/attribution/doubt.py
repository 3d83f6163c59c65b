# SPDX-License-Identifier: MIT
"""Decides which readings of a counter are believed. One wrong reading must not become the baseline of the next. No I/O.

A reading that is lower than the last one, or higher than the hardware can have counted, is not believed before the
next reading agrees with it. If the next reading continues the old count, the one in between was wrong. If both are
wrong by the old count and agree with each other, the counter has wrapped or was reset. So a wrong reading costs
nothing, a wrap is booked one reading later, and a reset is a gap.
"""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..meters.base import COUNTER, Reading
from .counter import AHEAD, SLACK_UJ, UNSEEN, WENT_DOWN, Counter, Delta, delta

if TYPE_CHECKING:
    from ..meters.base import Domain
    from .snapshot import Snapshot


class Known(NamedTuple):
    """A reading in microjoules and its time on the monotonic clock."""

    uj: int
    at_us: int


NEVER = Known(0, -1)
"""The reading of a counter of which nothing before now is known."""


class Believed(NamedTuple):
    """What is believed of a snapshot.

    `readings`: those that are not believed have no value. `reset`: for counters that were reset, the reading from which
    they count now (`NEVER`: from this snapshot on). `confirmed`: readings that were not believed and are now right.
    """

    readings: dict[str, Reading]
    reset: dict[str, Known]
    confirmed: dict[str, Known]


class Doubts:
    """By domain: the last reading that was believed, the one before it, and the newest that was not believed.

    `moved` names the counters that were seen to count.
    """

    def __init__(self) -> None:
        self.moved: set[str] = set()
        self.is_new = False
        """Whether the last snapshot began a doubt, which a reading soon after would settle."""
        self._moved_us: dict[str, int] = {}
        self._known: dict[str, Known] = {}
        self._prior: dict[str, Known] = {}
        self._suspect: dict[str, Known] = {}

    def judge(self, domains: dict[str, Domain], last: Snapshot | None, now: Snapshot) -> Believed:
        """Return what is believed of the readings of a snapshot, given the one before it."""
        for kept in (self._known, self._prior, self._suspect, self._moved_us):
            for name in kept.keys() - domains.keys():
                del kept[name]
        self.moved &= domains.keys()
        self.is_new = False
        believed = Believed(dict(now.readings), {}, {})
        for name, reading in now.readings.items():
            domain = domains.get(name)
            if domain is not None and domain.method == COUNTER and reading.energy_uj is not None:
                raw = Known(reading.energy_uj, now.mono_us)
                believed.readings[name] = self._judge(domain, raw, last, believed)
        return believed

    def still_us(self, name: str, now_us: int) -> int:
        """Return for how long a counter has shown the same; 0 for one that is not known."""
        return now_us - self._moved_us.get(name, now_us)

    def _judge(self, domain: Domain, raw: Known, last: Snapshot | None, believed: Believed) -> Reading:
        name = domain.name
        known = self._known.get(name) or _of(last, name)
        if known is None:
            return self._believe(name, raw)
        self._known[name] = known
        suspect = self._suspect.get(name)
        if raw.uj == known.uj:
            self._suspect.pop(name, None)
            self._moved_us.setdefault(name, known.at_us)
            self._known[name] = raw
            return Reading(raw.uj, "")
        counted = _between(domain, known, raw)
        if counted.reason.startswith(UNSEEN):
            return self._believe(name, raw)
        if suspect is not None and _may_have_begun_anew(domain, known, suspect, raw):
            believed.reset[name] = NEVER
            return self._believe(name, raw)
        if raw.uj > known.uj and counted.energy_uj is not None:
            return self._believe(name, raw)
        if suspect is not None and raw.uj >= suspect.uj and _agree(domain, suspect, raw):
            if counted.energy_uj is not None:
                if _between(domain, known, suspect).energy_uj is not None:
                    believed.confirmed[name] = suspect
                    self._known[name] = suspect
                return self._believe(name, raw)
            if not (self._was_too_high(domain, known, suspect) and self._was_too_high(domain, known, raw)):
                believed.reset[name] = suspect
                self._known.pop(name)
                return self._believe(name, raw)
            counted = counted._replace(reason=AHEAD)
        self.is_new |= suspect is None
        self._suspect[name] = raw
        return Reading(None, counted.reason or WENT_DOWN)

    def _was_too_high(self, domain: Domain, known: Known, raw: Known) -> bool:
        """Return whether the count goes on from before the last reading that was believed: that one was too high.

        A young counter that was reset can look the same. Then a gap is booked, and nothing above what was counted.
        """
        prior = self._prior.get(domain.name)
        return (
            prior is not None and prior.uj <= raw.uj < known.uj and _between(domain, prior, raw).energy_uj is not None
        )

    def _believe(self, name: str, raw: Known) -> Reading:
        self._suspect.pop(name, None)
        prior = self._known.get(name)
        if prior is not None:
            self.moved.add(name)
            self._prior[name] = prior
        else:
            self._prior.pop(name, None)
        self._known[name] = raw
        self._moved_us[name] = raw.at_us
        return Reading(raw.uj, "")


def _of(last: Snapshot | None, name: str) -> Known | None:
    before = last.readings.get(name) if last is not None else None
    if last is None or before is None or before.energy_uj is None:
        return None
    return Known(before.energy_uj, last.mono_us)


def _can_have_begun_anew(domain: Domain, known: Known, suspect: Known) -> bool:
    """Return whether a counter that went down can have begun at nothing: it can have counted what it showed then."""
    return suspect.uj < known.uj and suspect.uj <= domain.max_watts * (suspect.at_us - known.at_us) + SLACK_UJ


def _may_have_begun_anew(domain: Domain, known: Known, suspect: Known, raw: Known) -> bool:
    """Return whether that can be, although the counter is above its old count again."""
    anew = known.uj <= raw.uj and _can_have_begun_anew(domain, known, suspect)
    return anew and _agree(domain, suspect, raw)


def _agree(domain: Domain, suspect: Known, raw: Known) -> bool:
    """Return whether a counter can have gone on from one reading to the other, or shows the same in both."""
    return raw.uj == suspect.uj or _between(domain, suspect, raw).energy_uj is not None


def _between(domain: Domain, before: Known, after: Known) -> Delta:
    return delta(Counter(domain.range_uj, domain.max_watts), before.uj, after.uj, after.at_us - before.at_us)
