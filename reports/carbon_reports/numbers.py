# SPDX-License-Identifier: MIT
"""Writes numbers for people: one unit and one number of decimals for a column, so that they can be compared by eye. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from math import floor, log10
from typing import TYPE_CHECKING

from carbon_acct.client import units
from carbon_acct.client.units import UG_PER_G
from carbon_collector.units import UJ_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN = "–"
NARROW_SPACE = "\u202f"
MINUS = "−"
KWH = UJ_PER_KWH
KG = UG_PER_G * 1000
DIGITS = 10**4
MOST_PLACES = 6


def places(values: Iterable[int | None], unit: int) -> int:
    """Return the number of decimals at which the greatest value of a column has four digits, in `unit`s."""
    greatest = max((abs(value) for value in values if value), default=0)
    for count in range(MOST_PLACES):
        if not greatest or 10 * greatest * 10**count >= DIGITS * unit:
            return count
    return MOST_PLACES


def fixed(value: int | None, unit: int, decimals: int) -> str:
    """Return a value in `unit`s with so many decimals. What is not 0 is not shown as 0."""
    if value is None:
        return UNKNOWN
    sign = MINUS if value < 0 else ""
    text = units.decimal(abs(value), unit, decimals)
    if value and not text.strip("0."):
        return f"{sign and MINUS}<{units.decimal(1, 10**decimals, decimals)}"
    whole, point, rest = text.partition(".")
    return f"{sign}{int(whole):,}".replace(",", NARROW_SPACE) + point + rest


def grouped(number: int | None) -> str:
    """Return a whole number in groups of three digits."""
    return UNKNOWN if number is None else f"{number:,}".replace(",", NARROW_SPACE).replace("-", MINUS)


def percent(value: float | None) -> str:
    """Return a percentage. A value that is not 0 is not shown as 0."""
    if value is None:
        return UNKNOWN
    if 0 < abs(value) < 0.05:
        return f"{MINUS if value < 0 else ''}<0.1{NARROW_SPACE}%"
    return f"{value:.1f}{NARROW_SPACE}%".replace("-", MINUS)


def whole_percent(value: float) -> str:
    """Return a percentage for a sentence, without its sign: whole from 10 on, else with one decimal."""
    size = abs(value)
    return f"{size:.0f}{NARROW_SPACE}%" if round(size, 1) >= 10 else f"{size:.1f}{NARROW_SPACE}%"


def three_digits(value: float) -> str:
    """Return a number with three digits, and whole from 100 on."""
    decimals = max(0, 2 - floor(log10(abs(value)))) if value else 0
    return f"{value:,.{decimals}f}".replace(",", NARROW_SPACE).replace("-", MINUS)


def covered(value: float | None) -> str:
    """Return a coverage, rounded down: 100 means all, not nearly all."""
    return percent(None if value is None else int(value * 10 + 1e-9) / 10)


@lru_cache(maxsize=1024)  # a page says the same more than once
def energy(uj: int | None) -> str:
    """Return energy for a sentence, in the unit that suits its size."""
    return UNKNOWN if uj is None else _spaced(units.energy(uj))


@lru_cache(maxsize=1024)
def carbon(ug: int | None) -> str:
    """Return a mass of CO2 equivalent for a sentence, in the unit that suits its size."""
    return UNKNOWN if ug is None else _spaced(units.carbon(ug))


def _spaced(amount: str) -> str:
    return re.sub(r"(?<=\d)(?=[A-Za-z])", NARROW_SPACE, amount).replace("-", MINUS)
