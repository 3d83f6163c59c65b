# SPDX-License-Identifier: MIT
"""Gives a prediction its interval: conformal intervals, from the errors of earlier predictions.

With eight or more earlier runs the errors are the user's own. Otherwise they are those of simulated trainings
(`intervals.csv`, which `benchmarks/tracking.py --write` makes), by the share done and by whether an earlier run was
known. The scatter of the epochs so far is not used as an interval: it says nothing about what is still to come.
"""

from __future__ import annotations

import math
import os

from .lean import NamedTuple

LEVEL = 0.90
OWN = 8
"""The number of earlier runs from which on the user's own errors are used."""
TABLE = "intervals.csv"


class Row(NamedTuple):
    """The bounds of actual rest over predicted rest, for one basis, from one share done on."""

    basis: str
    """The basis, as the function `basis` returns it."""
    share: float
    low: float
    high: float


UNSTEADY = 0.03
"""The relative standard deviation of the stretches' rates above which they are called unsteady."""


def basis(epochs_done: int, earlier: int, scatter: float) -> str:
    """Return the basis, which selects the rows of the table.

    It is `history` if an earlier run is known, `first` in and after the first epoch, else `rate`. `-unsteady` is added
    if the rates so far scatter.
    """
    name = "history" if earlier else "first" if epochs_done <= 1 else "rate"
    return name + ("-unsteady" if scatter > UNSTEADY else "")


def bounds(rows: list[Row], named: str, share: float) -> tuple[float, float]:
    """Return the bounds of actual over predicted rest from the table."""
    fitting = [row for row in rows if row.basis == named and row.share <= share] or [
        row for row in rows if row.basis == named
    ][:1]
    return (fitting[-1].low, fitting[-1].high) if fitting else (0.0, math.inf)


def own(ratios: list[float]) -> tuple[float, float]:
    """Return the bounds from the user's own errors: split conformal on the absolute logarithm of the ratios."""
    scores = sorted(abs(math.log(ratio)) for ratio in ratios if ratio > 0)
    if not scores:
        return 0.0, math.inf
    rank = min(len(scores), math.ceil((len(scores) + 1) * LEVEL))
    return math.exp(-scores[rank - 1]), math.exp(scores[rank - 1])


def quantiles(ratios: list[float]) -> tuple[float, float]:
    """Return bounds that leave the same share of ratios outside on either side, rounded outwards."""
    ordered = sorted(ratios)
    tail = (1 - LEVEL) / 2
    low = max(0, math.floor((len(ordered) + 1) * tail) - 1)
    high = min(len(ordered) - 1, math.ceil((len(ordered) + 1) * (1 - tail)) - 1)
    return ordered[low], ordered[high]


def table() -> list[Row]:
    """Return the rows of the shipped table, sorted by share. Raises OSError and ValueError."""
    rows = []
    with open(f"{os.path.dirname(os.path.abspath(__file__))}/{TABLE}", encoding="utf-8") as file:
        for line in file:
            if line.startswith(("#", "basis")) or not line.strip():
                continue
            named, share, low, high = line.strip().split(",")
            rows.append(Row(named, float(share), float(low), float(high)))
    return rows
