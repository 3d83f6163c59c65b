# SPDX-License-Identifier: MIT
"""Compares a mass of CO2 equivalent with kilometres by car, coal and tree seedlings, each with source and year."""

from __future__ import annotations

import csv
import math
from fractions import Fraction
from importlib.resources import files

from carbon_collector.lean.typing import NamedTuple

FEWEST, MOST = 1, 4


class Equivalent(NamedTuple):
    """A comparison: `grams` of CO2 equivalent are one unit of `text`."""

    name: str
    text: str
    grams: Fraction
    year: str
    source: str

    def amount(self, grams: Fraction) -> Fraction:
        """Return the number of units that have the same mass of CO2 equivalent."""
        return grams / self.grams


def equivalents() -> list[Equivalent]:
    """Return the table `equivalents.csv`."""
    text = (files("carbon_acct.client") / "data" / "equivalents.csv").read_text("utf-8")
    return [
        Equivalent(row["name"], row["text"], _number(row["grams"]), row["year"], row["source"])
        for row in csv.DictReader(text.splitlines())
    ]


def digits(value: float, low: float, high: float) -> int:
    """Return the number of significant digits, 1 to 4, to show of a figure whose interval is [low, high].

    A digit is shown if the interval is at most ten of its units wide.
    """
    width = abs(high - low)
    if not value or not width:
        return MOST
    return max(FEWEST, min(MOST, math.floor(math.log10(abs(value) / width)) + 1))


def significant(value: float, count: int) -> str:
    """Return a number with `count` significant digits, without exponent: `52.4`, `0.22`, `700000`."""
    if not value:
        return "0"
    places = count - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    return f"{rounded:.{max(0, count - 1 - math.floor(math.log10(abs(rounded))))}f}"


def _number(text: str) -> Fraction:
    above, _, below = text.partition("/")
    return Fraction(above) / Fraction(below or 1)
