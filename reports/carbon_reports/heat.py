# SPDX-License-Identifier: MIT
"""Sums slots by the hours of the site's clocks: rows of days, or of months in a long period, and columns of hours. Pure.

A day on which the clock is set has 23 or 25 hours: an hour that it has twice is a column of its own, and one that it has
not is empty.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from carbon_acct.client.units import UG_PER_G
from carbon_acct.factors.arithmetic import emissions
from carbon_acct.known import sum_known
from carbon_collector.units import UJ_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from .history import Slot
    from .period import Period

LEVELS = 7
"""The number of shades."""


@dataclass
class Hour:
    """An hour of a row: metered energy of the jobs in microjoules, and the mean intensity of its slots in g/kWh."""

    jobs_uj: int | None = None
    intensities: list[float] = field(default_factory=list)

    @property
    def g_per_kwh(self) -> float | None:
        """Return the mean intensity, or None where no slot was metered."""
        return fsum(self.intensities) / len(self.intensities) if self.intensities else None


class Heat(NamedTuple):
    """The hours of a period. `columns`: hour of the day and 0, or 1 for an hour that comes again."""

    columns: list[tuple[int, int]]
    rows: list[tuple[str, list[Hour]]]


def heat(slots: Sequence[Slot], period: Period, now: int) -> Heat:
    """Return the hours of the period so far."""
    long = period.is_long
    found: dict[str, dict[tuple[int, int], Hour]] = {}
    for border in period.borders()[:-1]:
        if border <= now:
            found.setdefault(_row(period.local(border), long), defaultdict(Hour))
    for slot in slots:
        local = period.local(slot.start)
        hour = found.setdefault(_row(local, long), defaultdict(Hour))[local.hour, local.fold]
        hour.jobs_uj = sum_known((hour.jobs_uj, slot.jobs_uj))
        hour.intensities.append(slot.factors.g_per_kwh_float)
    columns = sorted({(h, 0) for h in range(24)} | {key for hours in found.values() for key in hours})
    nothing = Hour()
    return Heat(columns, [(row, [hours.get(key, nothing) for key in columns]) for row, hours in found.items()])


def _row(local: datetime, long: bool) -> str:
    return f"{local:%Y-%m}" if long else f"{local:%Y-%m-%d}"


def shade(value: float | None, least: float, most: float) -> int | None:
    """Return the shade of a value, 0 to LEVELS - 1, or None where it is not known."""
    if value is None:
        return None
    if most <= least:
        return 0
    return min(int((value - least) / (most - least) * LEVELS), LEVELS - 1)


class Evenly(NamedTuple):
    """What the metered energy of the jobs emitted, and what it would have emitted at the period's mean intensity."""

    carbon_ug: int
    at_mean_ug: int
    mean_g_per_kwh: float


def evenly(slots: Sequence[Slot]) -> Evenly | None:
    """Return the comparison, or None where the jobs drew nothing that was metered. The second figure is only shown."""
    if not any(slot.jobs_uj for slot in slots):
        return None
    mean = fsum(slot.factors.g_per_kwh_float for slot in slots) / len(slots)
    facility = fsum(slot.factors.pue_float * (slot.jobs_uj or 0) for slot in slots)
    real = sum(emissions(slot.jobs_uj, slot.factors).carbon_ug or 0 for slot in slots)
    return Evenly(real, round(facility / UJ_PER_KWH * mean * UG_PER_G), mean)
