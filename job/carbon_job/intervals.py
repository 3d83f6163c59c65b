# SPDX-License-Identifier: MIT
"""Says how far off a prediction may be: conformal intervals from the errors that were made before.

With eight or more earlier runs the errors are the user's own. Else they are those of simulated trainings
(`intervals.csv`, which `benchmarks/tracking.py --write` makes), by the share done and by whether an earlier run was
known. The scatter of the epochs so far is no interval: it knows nothing of what is still to come.
"""

from __future__ import annotations

import math
import os
from typing import NamedTuple

LEVEL = 0.90
OWN = 8
"""Own errors from so many earlier runs on."""
TABLE = "intervals.csv"


class Row(NamedTuple):
    """Bounds of actual rest over predicted rest, for one basis from one share done on."""

    basis: str
    """See `basis`."""
    share: float
    low: float
    high: float


UNSTEADY = 0.03
"""Rates of stretches that scatter by more than this (standard deviation, relative) are called unsteady."""


def basis(epochs_done: int, earlier: int, scatter: float) -> str:
    """Return which rows of the table hold.

    `first` in and after the first epoch, `rate` later, `history` where an earlier run is known; with `-unsteady`
    behind it where the rates so far scatter.
    """
    name = "history" if earlier else "first" if epochs_done <= 1 else "rate"
    return name + ("-unsteady" if scatter > UNSTEADY else "")


def bounds(rows: list[Row], named: str, share: float) -> tuple[float, float]:
    """Return the bounds of actual over predicted rest by the table."""
    fitting = [row for row in rows if row.basis == named and row.share <= share] or [
        row for row in rows if row.basis == named
    ][:1]
    return (fitting[-1].low, fitting[-1].high) if fitting else (0.0, math.inf)


def own(ratios: list[float]) -> tuple[float, float]:
    """Return the bounds by own errors: split conformal on the size of the logarithm."""
    scores = sorted(abs(math.log(ratio)) for ratio in ratios if ratio > 0)
    if not scores:
        return 0.0, math.inf
    rank = min(len(scores), math.ceil((len(scores) + 1) * LEVEL))
    return math.exp(-scores[rank - 1]), math.exp(scores[rank - 1])


def quantiles(ratios: list[float]) -> tuple[float, float]:
    """Return the bounds that leave half of what is outside on either side, conservatively."""
    ordered = sorted(ratios)
    tail = (1 - LEVEL) / 2
    low = max(0, math.floor((len(ordered) + 1) * tail) - 1)
    high = min(len(ordered) - 1, math.ceil((len(ordered) + 1) * (1 - tail)) - 1)
    return ordered[low], ordered[high]


def table() -> list[Row]:
    """Return the shipped table, in the order of shares. Raises OSError and ValueError."""
    rows = []
    with open(f"{os.path.dirname(os.path.abspath(__file__))}/{TABLE}", encoding="utf-8") as file:
        for line in file:
            if line.startswith(("#", "basis")) or not line.strip():
                continue
            named, share, low, high = line.strip().split(",")
            rows.append(Row(named, float(share), float(low), float(high)))
    return rows
