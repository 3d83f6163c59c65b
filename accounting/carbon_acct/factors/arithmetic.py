# SPDX-License-Identifier: MIT
"""Turns joules into grams: exact arithmetic on integers and decimal text, no floating point, no I/O.

    carbon = energy x PUE x intensity

It is applied once per job and slot, and rounded once, half to even, to whole micrograms. PUE is applied here and
nowhere before: stored joules are what the meters counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import NamedTuple

from carbon_acct.client.units import UG_PER_G
from carbon_collector.units import UJ_PER_KWH

Factor = tuple[int, int]
"""A fraction, exact: numerator and denominator."""


@dataclass(frozen=True)
class Factors:
    """PUE and emission factors of a zone's slot as decimal or fraction text, which is exact. None: the site states none."""

    pue: str
    g_per_kwh: str
    market_g_per_kwh: str | None = None
    upstream_g_per_kwh: str | None = None
    td_g_per_kwh: str | None = None
    id: int = 0
    source_id: int = 0

    @cached_property
    def g_per_kwh_float(self) -> float:
        """Return the nearest double, for weighted means that are only shown."""
        return float(Fraction(self.g_per_kwh))

    @cached_property
    def pue_float(self) -> float:
        """Return the nearest double, for weighted means that are only shown."""
        return float(Fraction(self.pue))

    @cached_property
    def multipliers(self) -> tuple[Factor | None, ...]:
        """Return the factor by which microjoules of IT energy are multiplied for each field of Emissions; None: not stated."""
        intensities = (self.g_per_kwh, self.market_g_per_kwh, self.upstream_g_per_kwh, self.td_g_per_kwh)
        return (_ratio(self.pue), *(None if g is None else _ug_per_uj(self.pue, g) for g in intensities))


class Emissions(NamedTuple):
    """Facility energy and emissions of an amount of IT energy. None: not known."""

    facility_uj: int | None = None
    carbon_ug: int | None = None
    market_ug: int | None = None
    upstream_ug: int | None = None
    td_ug: int | None = None


def emissions(energy_uj: int | None, factors: Factors) -> Emissions:
    """Return facility energy and emissions of `energy_uj`, each rounded once, half to even, from the exact product."""
    if energy_uj is None:
        return NOT_KNOWN
    return Emissions(*[None if factor is None else _times(energy_uj, factor) for factor in factors.multipliers])


NOT_KNOWN = Emissions()


@lru_cache(maxsize=4096)
def _ug_per_uj(pue: str, g_per_kwh: str) -> Factor:
    return (Fraction(pue) * Fraction(g_per_kwh) * UG_PER_G / UJ_PER_KWH).as_integer_ratio()


@lru_cache(maxsize=256)
def _ratio(text: str) -> Factor:
    return Fraction(text).as_integer_ratio()


def _times(amount: int, factor: Factor) -> int:
    """Return round(amount * Fraction(*factor)) in a quarter of the time. Every slot of every job comes through here."""
    over, under = factor
    whole, rest = divmod(amount * over, under)
    return whole + (2 * rest > under or (2 * rest == under and whole % 2 == 1))
