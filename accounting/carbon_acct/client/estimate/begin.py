# SPDX-License-Identifier: MIT
"""Finds the best time to begin a job: the intensity of each slot to come, and the start whose run is the cleanest.
Pure.

The intensity of a slot is that of the forecast, else the mean of the same time of day in the last seven days, else the
last value. A run is never given the mean of a whole forecast. Advice is given only for runs that lie within the
forecast.
"""

from __future__ import annotations

from bisect import bisect_right

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

SLOT_S = 900
DAY_S = 86_400
DAYS = 7


class Period(NamedTuple):
    """The intensity from `start` to before `end`, in g/kWh."""

    start: int
    end: int
    value: float


class Begin(NamedTuple):
    """A start time, and the mean intensity of the run that begins then."""

    at: int
    g_per_kwh: float


class Curve:
    """The intensity of a zone over time, from an answer of `GET /v1/intensity`. `scope` and `source` are the newest
    value's.
    """

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.zone = str(answer.get("zone") or "")
        self.known = _periods(answer.get("slots") or [])
        self.forecast = _periods(answer.get("forecast") or [])
        newest = (answer.get("forecast") or answer.get("slots") or [{}])[-1]
        self.scope, self.source = str(newest.get("scope") or ""), str(newest.get("source") or "")
        self.pue: float | None = answer.get("pue")

    @property
    def end(self) -> int:
        """Return the time up to which the forecast has no gap, or 0 without a forecast."""
        end = 0
        for period in self.forecast:
            if end and period.start > end:
                break
            end = period.end
        return end

    def at(self, when: int) -> float | None:
        """Return the intensity at an instant, or None if no value is known at all."""
        for series in (self.known, self.forecast):
            if (value := _at(series, when)) is not None:
                return value
        before = [_at(self.known, when - day * DAY_S) for day in self._days(when)]
        same = [value for value in before if value is not None]
        if same:
            return sum(same) / len(same)
        return self.known[-1].value if self.known else None

    def mean(self, begin: int, seconds: float) -> float | None:
        """Return the mean intensity of a run, weighted by time, or None if nothing is known."""
        total, at, end = 0.0, float(begin), begin + max(seconds, 1.0)
        while at < end:
            following = min(end, (at // SLOT_S + 1) * SLOT_S)
            value = self.at(int(at))
            if value is None:
                return None
            total += value * (following - at)
            at = following
        return total / (end - begin)

    def best(self, now: int, within: float, seconds: float) -> Begin | None:
        """Return the cleanest start within `within` seconds from now, the earliest of equal ones.

        None if no whole run lies within the forecast.
        """
        latest = min(now + within, self.end - seconds)
        found: list[Begin] = []
        at = now
        while at <= latest:
            value = self.mean(at, seconds)
            if value is not None:
                found.append(Begin(at, value))
            at = (at // SLOT_S + 1) * SLOT_S
        return min(found, key=lambda begin: begin.g_per_kwh, default=None)

    def _days(self, when: int) -> range:
        """Return how many days before `when` to look at the same time of day: seven days whose values are
        known by now.
        """
        last = self.known[-1].end if self.known else when
        first = max(1, -(-(when - last + 1) // DAY_S))
        return range(first, first + DAYS)


def _periods(rows: Iterable[Mapping[str, Any]]) -> list[Period]:
    found = [
        Period(int(row["start"]), int(row["end"]), float(row["value"])) for row in rows if row.get("value") is not None
    ]
    return sorted(found)


def _at(series: list[Period], when: int) -> float | None:
    place = bisect_right(series, (when, float("inf"), 0.0)) - 1
    return series[place].value if place >= 0 and series[place].end > when else None
