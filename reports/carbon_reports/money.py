# SPDX-License-Identifier: MIT
"""Applies the site's price of a kilowatt-hour to facility energy: exact, and rounded once for each day of an association."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from carbon_acct.days import zone_info
from carbon_acct.factors.dated_value import Dated, dated
from carbon_collector.units import UJ_PER_KWH

if TYPE_CHECKING:
    from carbon_collector.settings import Settings

MILLIONTHS = 1_000_000
"""Parts of a unit of the currency in which costs are counted."""


@dataclass(frozen=True)
class Prices:
    """The site's prices by date, and their currency; an empty one means that the site states none."""

    per_kwh: Dated
    currency: str

    def cost_u(self, facility_uj: int | None, day: int) -> int | None:
        """Return the cost in millionths of the facility energy of a day, or None where energy or price is not known."""
        price = self.per_kwh.at(day)
        if facility_uj is None or price is None:
            return None
        return round(Fraction(price) * facility_uj * MILLIONTHS / UJ_PER_KWH)


def prices(settings: Settings) -> Prices:
    """Return the site's prices. Raises SettingsError."""
    clock = zone_info(settings.text("site", "timezone"))
    found = dated("[site] price", settings.text("site", "price"), clock)
    return Prices(found, settings.text("site", "currency") if found.values else "")


NO_PRICES = Prices(Dated(), "")
