# SPDX-License-Identifier: MIT
"""Turns joules into grams: exact arithmetic on integers and decimal text, no floating point, no I/O.

    carbon = energy x PUE x intensity

once per job and slot, rounded once, half to even, to whole micrograms. PUE comes in here and nowhere
before: stored joules are what the meters counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from carbon_collector.units import UJ_PER_KWH

UG_PER_G = 1_000_000


@dataclass(frozen=True)
class Price:
    """What a slot's energy is multiplied with; both are decimal text and therefore exact."""

    pue: str
    g_per_kwh: str
    intensity_id: int = 0


def carbon_ug(energy_uj: int, price: Price) -> int:
    """Location-based micrograms of CO2e of `energy_uj` of IT energy."""
    return round(energy_uj * Fraction(price.pue) * Fraction(price.g_per_kwh) * UG_PER_G / UJ_PER_KWH)


def facility_uj(parts: Iterable[tuple[int, str]]) -> int:
    """Energy of the facility for (IT energy, PUE) pairs: the sum is exact and rounded once."""
    return round(sum((energy * Fraction(pue) for energy, pue in parts), Fraction(0)))


def weighted(parts: Iterable[tuple[int, str]]) -> float | None:
    """Mean of decimal texts weighted by energy; the plain mean of what was used where there is no energy."""
    pairs = [(energy, Fraction(text)) for energy, text in parts]
    total = sum(energy for energy, _ in pairs)
    if total:
        return float(sum((energy * value for energy, value in pairs), Fraction(0)) / total)
    values = {value for _, value in pairs}
    return float(sum(values, Fraction(0)) / len(values)) if values else None
