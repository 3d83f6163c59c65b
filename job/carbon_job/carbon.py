# SPDX-License-Identifier: MIT
"""Converts energy to grams with the grid's intensity at its time: slot by slot, past and future. Pure, no I/O.

grams = sum over slots of kWh x PUE x intensity. A future slot has the intensity of the forecast, else the mean of the
same time of day in the last seven days, else the last value, whose age is stated. A mean over all slots is never used.
"""

from __future__ import annotations

from collections.abc import Iterable

from .energy import UJ_PER_KWH
from .lean import NamedTuple
from .timeline import shares
from .units import J_PER_KWH

DAY_S = 86_400
DAYS = 7
OLD_S = 3600.0
"""The age in seconds from which on the age of the last value is stated."""


class Intensity(NamedTuple):
    """The carbon intensity of electricity in one slot."""

    start_s: int
    end_s: int
    g_per_kwh: float
    source: str = ""
    scope: str = ""
    """The scope: `lifecycle` or `direct`."""
    estimated: bool = False
    forecast: bool = False


class Grams(NamedTuple):
    """A mass of CO2e in grams, and the basis of its intensity."""

    grams: float
    basis: str


class Series:
    """The intensities of one zone in the order of time, or one fixed intensity."""

    def __init__(self, slots: Iterable[Intensity] = (), fixed: float | None = None, pue: float = 1.0) -> None:
        self.known = sorted(slot for slot in slots if not slot.forecast)
        self.forecast = sorted(slot for slot in slots if slot.forecast)
        self.fixed, self.pue = fixed, pue

    def __bool__(self) -> bool:
        return self.fixed is not None or bool(self.known)

    def spent(self, slots: Iterable[tuple[int, float]]) -> Grams | None:
        """Return the grams of energy by slot (Unix time, microjoules), or None if no intensity is known."""
        if not self:
            return None
        grams, basis = 0.0, ""
        for start_s, energy_uj in slots:
            value, how = self._then(start_s)
            grams += energy_uj / UJ_PER_KWH * self.pue * value
            basis = basis or how
        return Grams(grams, basis or "fixed")

    def rest(self, energy_j: float, now_s: float, seconds: float) -> Grams | None:
        """Return the grams of energy that will be used evenly over the next `seconds`, or None if no intensity is
        known.
        """
        if not self:
            return None
        grams, worst = 0.0, 0
        for start_s, share in shares(now_s * 1e6, (now_s + seconds) * 1e6):
            value, rank = self._coming(start_s, now_s)
            grams += energy_j * share / J_PER_KWH * self.pue * value
            worst = max(worst, rank)
        return Grams(grams, self._basis(worst, now_s))

    def _then(self, at_s: float) -> tuple[float, str]:
        """Return the intensity of a slot that has begun: the measured one, else the forecast, else the newest one
        before it.
        """
        if self.fixed is not None:
            return self.fixed, "fixed"
        covering = [slot for slot in self.known if slot.start_s <= at_s < slot.end_s]
        if covering:
            return covering[-1].g_per_kwh, covering[-1].source
        near = [slot for slot in self.forecast if slot.start_s <= at_s < slot.end_s]
        if near:
            return near[-1].g_per_kwh, "forecast"
        before = [slot for slot in self.known if slot.start_s <= at_s] or self.known[:1]
        return before[-1].g_per_kwh, f"{before[-1].source}, last value"

    def _coming(self, at_s: float, now_s: float) -> tuple[float, int]:
        """Return the intensity of a future slot, and its basis: 0 fixed, 1 forecast or known, 2 the days before, 3 the
        last value.
        """
        if self.fixed is not None:
            return self.fixed, 0
        for slot in reversed(self.forecast):
            if slot.start_s <= at_s < slot.end_s:
                return slot.g_per_kwh, 1
        covering = [slot for slot in self.known if slot.start_s <= at_s < slot.end_s]
        if covering:
            return covering[-1].g_per_kwh, 1
        same = [
            slot.g_per_kwh
            for slot in self.known
            if slot.start_s <= now_s
            and any(slot.start_s <= at_s - day * DAY_S < slot.end_s for day in _days(at_s, now_s))
        ]
        if same:
            return sum(same) / len(same), 2
        return self.known[-1].g_per_kwh, 3

    def _basis(self, rank: int, now_s: float) -> str:
        if rank == 3:
            age_s = now_s - self.known[-1].end_s
            return "last value" + (f", {age_s / 3600:.0f} h old" if age_s > OLD_S else "")
        return ("fixed", "forecast", "forecast, then the same hours of the last seven days")[rank]


def _days(at_s: float, now_s: float) -> range:
    """Return how many days before `at_s` to look at the same time of day: the last seven days that are over."""
    first = max(1, int(-(-(at_s - now_s) // DAY_S)))
    return range(first, first + DAYS)
