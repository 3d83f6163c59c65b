# SPDX-License-Identifier: MIT
"""Turns readings of a counter into the energy between two moments. Pure arithmetic, no I/O.

Readings are taken when the collector reads, marks are set when the program says so. The energy at a mark is
interpolated between the readings before and after it, so an epoch begins and ends at its marks, not at the nearest
readings.
"""

from __future__ import annotations

from .lean import NamedTuple
from .live import Component, Reading

UJ_PER_KWH = 3_600_000_000_000
UNCERTAIN = ("counter", "integrated", "modelled", "")
"""The methods, the most certain first."""


class Part(NamedTuple):
    """The energy of one component between two moments."""

    energy_uj: float | None
    method: str
    coverage: float | None
    """The metered time over the time held, 0 to 1; None if the collector does not state it."""
    missing: str = ""


class Energy(NamedTuple):
    """The energy of the job between two moments, on one node or on all of its nodes."""

    seconds: float
    parts: dict[str, Part]
    simulated: bool = False

    @property
    def energy_uj(self) -> float | None:
        """Return the microjoules of all known components, or None if none is known."""
        known = [part.energy_uj for part in self.parts.values() if part.energy_uj is not None]
        return sum(known) if known else None

    @property
    def energy_kwh(self) -> float | None:
        """Return the kilowatt-hours of all known components, or None if none is known."""
        energy_uj = self.energy_uj
        return None if energy_uj is None else energy_uj / UJ_PER_KWH

    @property
    def method(self) -> str:
        """Return the least certain method of the known components, or `missing` if none is known."""
        known = [part.method for part in self.parts.values() if part.energy_uj is not None]
        return max(known, key=UNCERTAIN.index) if known else "missing"

    @property
    def coverage(self) -> float | None:
        """Return the least coverage of the components, or None if the collector does not state it. An unknown component
        counts as 0.
        """
        shares = [0.0 if part.energy_uj is None else part.coverage for part in self.parts.values()]
        known = [share for share in shares if share is not None]
        return min(known) if known else None

    @property
    def missing(self) -> dict[str, str]:
        """Return for each component that was not metered all of the time why it was not."""
        return {name: part.missing for name, part in self.parts.items() if part.missing}


class Curve:
    """The job's energy over time on this node, as readings show it."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []

    def add(self, reading: Reading) -> bool:
        """Add a reading. Returns False for a reading that is not newer than the last."""
        if not self.readings and 0 < reading.begin_us < reading.time_us:
            self.readings.append(_zero(reading))
        if self.readings and reading.time_us <= self.readings[-1].time_us:
            return False
        self.readings.append(reading)
        return True

    def at(self, time_us: float) -> Reading | None:
        """Return the state at `time_us`, or None if that lies before the first reading or after the last."""
        readings = self.readings
        if not readings or time_us > readings[-1].time_us or time_us < readings[0].time_us:
            return None
        low, high = 0, len(readings) - 1
        while low < high:  # the first reading at or after time_us; bisect has no key before Python 3.10
            middle = (low + high) // 2
            if readings[middle].time_us < time_us:
                low = middle + 1
            else:
                high = middle
        return readings[low] if low == 0 else _interpolate(readings[low - 1], readings[low], time_us)

    def forget(self, before_us: float) -> None:
        """Drop the readings that are not needed for `before_us` and later."""
        keep = len(self.readings)
        while keep > 1 and self.readings[keep - 1].time_us >= before_us:
            keep -= 1
        if keep > 1:
            del self.readings[: keep - 1]


def between(begin: Reading, end: Reading) -> Energy:
    """Return the energy between an earlier state and a later one.

    A component that is unknown at one of them is unknown between them. A component that only the later one has (a
    device that was added) counts from zero.
    """
    held_us = end.held_us - begin.held_us
    parts = {}
    for name, last in end.components.items():
        first = begin.components.get(name, Component(0, 0, last.method))
        if last.energy_uj is None or first.energy_uj is None:
            parts[name] = Part(None, "missing", 0.0, last.missing or first.missing or "not measured")
            continue
        coverage = min(1.0, max(0.0, (last.metered_us - first.metered_us) / held_us)) if held_us > 0 else None
        why = last.missing if coverage is not None and coverage < 1 else ""
        parts[name] = Part(max(0.0, last.energy_uj - first.energy_uj), last.method, coverage, why)
    return Energy((end.time_us - begin.time_us) / 1e6, parts, begin.simulated or end.simulated)


def added(left: Energy, right: Energy) -> Energy:
    """Return the sum of two energies. Seconds and microjoules add up; coverage is weighted by time."""
    parts = {}
    for name in {**left.parts, **right.parts}:
        one, two = left.parts.get(name), right.parts.get(name)
        if one is None or two is None:
            known_s = left.seconds if two is None else right.seconds
            parts[name] = _thinned(one or two or Part(None, "missing", 0.0), known_s, left.seconds + right.seconds)
            continue
        known = [part.energy_uj for part in (one, two) if part.energy_uj is not None]
        parts[name] = Part(
            sum(known) if known else None,
            max(one.method, two.method, key=lambda method: UNCERTAIN.index(method) if method in UNCERTAIN else -1),
            _weighted(one.coverage, left.seconds, two.coverage, right.seconds),
            one.missing or two.missing,
        )
    return Energy(left.seconds + right.seconds, parts, left.simulated or right.simulated)


def scaled(energy: Energy, factor: float) -> Energy:
    """Return an energy with `factor` times the microjoules in the same time, for nodes that are assumed to be alike."""
    parts = {
        name: part if part.energy_uj is None else part._replace(energy_uj=part.energy_uj * factor)
        for name, part in energy.parts.items()
    }
    return energy._replace(parts=parts)


def _thinned(part: Part, seconds: float, whole: float) -> Part:
    """Return a part with its coverage reduced: in the rest of the whole time the component was not metered."""
    if part.coverage is None or whole <= 0:
        return part
    return part._replace(coverage=part.coverage * seconds / whole)


def _weighted(one: float | None, seconds: float, two: float | None, others: float) -> float | None:
    if one is None or two is None:
        return one if two is None else two
    whole = seconds + others
    return (one * seconds + two * others) / whole if whole > 0 else min(one, two)


def _zero(reading: Reading) -> Reading:
    """Return the state at the start of the job, when nothing had been used."""
    parts = {
        name: part if part.energy_uj is None else part._replace(energy_uj=0, metered_us=0)
        for name, part in reading.components.items()
    }
    return reading._replace(time_us=reading.begin_us, held_us=0, components=parts, sequence=0)


def _interpolate(low: Reading, high: Reading, time_us: float) -> Reading:
    share = (time_us - low.time_us) / (high.time_us - low.time_us)
    parts = {}
    for name, last in high.components.items():
        first = low.components.get(name, last._replace(energy_uj=0, metered_us=0))
        if first.energy_uj is None or last.energy_uj is None:
            parts[name] = last._replace(energy_uj=None)
            continue
        parts[name] = last._replace(
            energy_uj=first.energy_uj + share * (last.energy_uj - first.energy_uj),
            metered_us=first.metered_us + share * (last.metered_us - first.metered_us),
        )
    return high._replace(time_us=time_us, held_us=low.held_us + share * (high.held_us - low.held_us), components=parts)
