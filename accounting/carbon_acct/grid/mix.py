# SPDX-License-Identifier: MIT
"""The intensity of a generation mix: each fuel's lifecycle factor, weighted by what it generated.

The factors are shipped (`data/fuel-factors.csv`), each with its source. What storage gives back is left out, because it
was counted when it was first generated. What has no published factor (waste, "other") is left out too, as if it were
like the rest. Where that is more than a quarter of the whole, the mix has no figure.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files

# ENTSO-E's production types (psrType): pumped storage and other energy storage; links and substations generate nothing.
STORAGE = frozenset({"B10", "B25"})
NO_GENERATION = frozenset({"B21", "B22", "B23", "B24"})
SOLAR = "B16"
MOST_UNKNOWN = Decimal("0.25")
DECIMALS = Decimal("0.001")


@cache
def fuel_factors() -> dict[str, Decimal]:
    """Return g/kWh by production type."""
    text = (files("carbon_acct.grid") / "data" / "fuel-factors.csv").read_text("utf-8")
    return {row["psr_type"]: Decimal(row["g_per_kwh"]) for row in csv.DictReader(text.splitlines())}


def counted(types: Iterable[str]) -> set[str]:
    """Return the production types that make up a mix."""
    return set(types) - STORAGE - NO_GENERATION


def intensity(megawatts: Mapping[str, Decimal]) -> Decimal | None:
    """Return g/kWh of a mix, to a milligram, or None where nothing, or too little that has a factor, was generated.

    A negative amount, as a solar plant has it at night, counts as 0.
    """
    factors = fuel_factors()
    # Of an unrounded quotient the 28 digits of the default context are plenty.
    by_type = {t: max(Decimal(0), megawatts[t]) for t in sorted(counted(megawatts))}
    known = {t: mw for t, mw in by_type.items() if t in factors}
    everything, total = sum(by_type.values(), Decimal(0)), sum(known.values(), Decimal(0))
    if not total or everything - total > everything * MOST_UNKNOWN:
        return None
    return (sum((factors[t] * mw for t, mw in known.items()), Decimal(0)) / total).quantize(DECIMALS)
