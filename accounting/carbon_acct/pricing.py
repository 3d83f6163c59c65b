# SPDX-License-Identifier: MIT
"""Turns joules into grams: exact arithmetic on integers and decimal text, no floating point, no I/O.

    carbon = energy x PUE x intensity

once per job and slot, rounded once, half to even, to whole micrograms. PUE comes in here and nowhere
before: stored joules are what the meters counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from carbon_collector.units import UJ_PER_KWH

UG_PER_G = 1_000_000


@dataclass(frozen=True)
class Price:
    """What a slot's energy is multiplied with: decimal or fraction text, and therefore exact. None: the site states none."""

    pue: str
    g_per_kwh: str
    market_g_per_kwh: str | None = None
    upstream_g_per_kwh: str | None = None
    td_g_per_kwh: str | None = None
    id: int = 0
    source_id: int = 0

    @property
    def g_per_kwh_float(self) -> float:
        """As near as a double comes."""
        return _double(self.g_per_kwh)

    @property
    def pue_float(self) -> float:
        """As near as a double comes."""
        return _double(self.pue)


class Priced(NamedTuple):
    """What an amount of IT energy means at a price. None: not known."""

    facility_uj: int | None = None
    carbon_ug: int | None = None
    market_ug: int | None = None
    upstream_ug: int | None = None
    td_ug: int | None = None


def priced(energy_uj: int | None, price: Price) -> Priced:
    """Each figure is rounded once, half to even, from the exact product."""
    if energy_uj is None:
        return NOTHING
    return Priced(
        facility_uj=facility_uj(energy_uj, price.pue),
        carbon_ug=carbon_ug(energy_uj, price),
        market_ug=_grams(energy_uj, price.pue, price.market_g_per_kwh),
        upstream_ug=_grams(energy_uj, price.pue, price.upstream_g_per_kwh),
        td_ug=_grams(energy_uj, price.pue, price.td_g_per_kwh),
    )


NOTHING = Priced()


def carbon_ug(energy_uj: int, price: Price) -> int:
    """Location-based micrograms of CO2e of `energy_uj` of IT energy."""
    return _times(energy_uj, _ug_per_uj(price.pue, price.g_per_kwh))


def facility_uj(energy_uj: int, pue: str) -> int:
    """Energy of the facility for `energy_uj` of IT energy."""
    return _times(energy_uj, _ratio(pue))


def _grams(energy_uj: int, pue: str, g_per_kwh: str | None) -> int | None:
    return None if g_per_kwh is None else _times(energy_uj, _ug_per_uj(pue, g_per_kwh))


@lru_cache(maxsize=4096)
def _ug_per_uj(pue: str, g_per_kwh: str) -> tuple[int, int]:
    return (Fraction(pue) * Fraction(g_per_kwh) * UG_PER_G / UJ_PER_KWH).as_integer_ratio()


@lru_cache(maxsize=4096)
def _double(text: str) -> float:
    return float(Fraction(text))


@lru_cache(maxsize=256)
def _ratio(text: str) -> tuple[int, int]:
    return Fraction(text).as_integer_ratio()


def _times(amount: int, ratio: tuple[int, int]) -> int:
    """What `round(amount * Fraction(*ratio))` is, in a quarter of the time: every slot of every job comes through here."""
    over, under = ratio
    whole, rest = divmod(amount * over, under)
    return whole + (2 * rest > under or (2 * rest == under and whole % 2 == 1))
