# SPDX-License-Identifier: MIT
"""Explains why carbon changed between two periods: energy, grid and PUE, each with its part of the change. Pure.

    carbon = energy x PUE x intensity

Each factor's part is its logarithmic change times the logarithmic mean of the two masses (LMDI-I; B. W. Ang, "The LMDI
approach to decomposition analysis", Energy Policy 33, 2005). The parts add up to the change, whatever the sizes, and none
depends on the order of the factors. Whole micrograms: the last of them are given to the greatest part.
"""

from __future__ import annotations

from math import log, log1p
from typing import TYPE_CHECKING, NamedTuple

from carbon_acct.client.units import UG_PER_G
from carbon_collector.units import UJ_PER_KWH

if TYPE_CHECKING:
    from .history import Amounts


class Factor(NamedTuple):
    """A factor of carbon: its values then and now, and its part of the change in micrograms."""

    name: str
    then: float
    now: float
    part_ug: int

    @property
    def percent(self) -> float:
        """Return the change of the factor in percent."""
        return 100 * (self.now / self.then - 1)


class Change(NamedTuple):
    """The carbon of two periods in micrograms, and the parts of its change by energy, grid and PUE, which add up."""

    then_ug: int
    now_ug: int
    energy: Factor
    grid: Factor
    pue: Factor

    @property
    def difference_ug(self) -> int:
        """Return by how much more was emitted; negative: less."""
        return self.now_ug - self.then_ug

    @property
    def percent(self) -> float:
        """Return the change in percent of what was emitted then."""
        return 100 * self.difference_ug / self.then_ug

    @property
    def factors(self) -> tuple[Factor, Factor, Factor]:
        """Return the three factors."""
        return self.energy, self.grid, self.pue


def change(then: Amounts, now: Amounts) -> Change | None:
    """Return the change between two periods, or None where a figure of either is not known or is not above 0."""
    values = [_factors(amounts) for amounts in (then, now)]
    before, after = values
    if before is None or after is None:
        return None
    then_ug, now_ug = then.carbon_ug or 0, now.carbon_ug or 0
    whole = _log_ratio(then_ug, now_ug)
    mean = (now_ug - then_ug) / whole if whole else then_ug
    parts = [round(mean * each) for each in _log_ratios(then, now)]
    greatest = max(range(3), key=lambda at: abs(parts[at]))
    parts[greatest] += now_ug - then_ug - sum(parts)
    named = zip(("energy", "PUE", "grid"), before, after, parts, strict=True)
    energy, pue, grid = (Factor(*each) for each in named)
    return Change(then_ug, now_ug, energy, grid, pue)


def _factors(amounts: Amounts) -> tuple[float, float, float] | None:
    """Return energy in kWh, PUE and g/kWh, whose product is the carbon in grams."""
    used, facility, carbon = amounts.used_uj, amounts.facility_uj, amounts.carbon_ug
    if not used or not facility or not carbon or min(used, facility, carbon) < 0:
        return None
    return used / UJ_PER_KWH, facility / used, carbon / UG_PER_G / (facility / UJ_PER_KWH)


def _log_ratios(then: Amounts, now: Amounts) -> list[float]:
    """Return the logarithmic changes of energy, PUE and intensity, which add up to that of carbon. All amounts are above 0."""
    names = ("used_uj", "facility_uj", "carbon_ug")
    used, facility, carbon = ((getattr(then, name), getattr(now, name)) for name in names)
    over = ((used, (1, 1)), (facility, used), (carbon, facility))
    return [_log_ratio(a * below_now, b * below_then) for (a, b), (below_then, below_now) in over]


def _log_ratio(then: int, now: int) -> float:
    """Return ln(now / then), precise also where the two are nearly the same: a float of their ratio would be 1."""
    difference = now - then
    return log1p(difference / then) if 2 * abs(difference) < then else log(now / then)
