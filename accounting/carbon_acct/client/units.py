# SPDX-License-Identifier: MIT
"""Shows energy and carbon to people: `1.25kWh`, `320g`. Three digits are shown, and never 0 for what is not 0.

Amounts are microjoules and micrograms of CO2 equivalent, and all arithmetic is on integers.
"""

from __future__ import annotations

from carbon_collector.errors import UsageError
from carbon_collector.units import UJ_PER_J, UJ_PER_KWH

UG_PER_G = 1_000_000
"""Micrograms in a gram."""

UJ_PER_WH = UJ_PER_KWH // 1000
ENERGY = {
    "mWh": UJ_PER_WH // 1000,
    "Wh": UJ_PER_WH,
    "kWh": UJ_PER_KWH,
    "MWh": UJ_PER_KWH * 10**3,
    "GWh": UJ_PER_KWH * 10**6,
    "TWh": UJ_PER_KWH * 10**9,
    "PWh": UJ_PER_KWH * 10**12,
}
"""The units of `Energy` in microjoules, smallest first."""

JOULES = {"J": UJ_PER_J, "kJ": UJ_PER_J * 10**3, "MJ": UJ_PER_J * 10**6, "GJ": UJ_PER_J * 10**9}
"""The units of energy, in microjoules, that are used only if --units asks for them."""

CARBON = {
    "mg": UG_PER_G // 1000,
    "g": UG_PER_G,
    "kg": UG_PER_G * 10**3,
    "t": UG_PER_G * 10**6,
    "kt": UG_PER_G * 10**9,
    "Mt": UG_PER_G * 10**12,
    "Gt": UG_PER_G * 10**15,
}
"""The units of `Carbon` in micrograms, smallest first."""

PREFIXES = {"K": ("kWh", "kg"), "M": ("MWh", "t"), "G": ("GWh", "kt"), "T": ("TWh", "Mt"), "P": ("PWh", "Gt")}
"""The units of energy and carbon for each prefix of sacct's --units=[KMGTP] (a megagram is a tonne)."""


def energy(uj: int, unit: str = "") -> str:
    """Return energy for people, in `unit` or in the unit that suits its size."""
    return _amount(uj, {**JOULES, **ENERGY}[unit], unit) if unit else _fitting(uj, ENERGY, "Wh")


def carbon(ug: int, unit: str = "") -> str:
    """Return a mass of CO2 equivalent for people, in `unit` or in the unit that suits its size."""
    return _amount(ug, CARBON[unit], unit) if unit else _fitting(ug, CARBON, "g")


def chosen_units(text: str) -> tuple[str, str]:
    """Return the units of energy and of carbon that --units names: `K`, `kWh`, `kg`, `MJ,t`. A unit that is not chosen
    is empty.

    Raises UsageError.
    """
    chosen = ["", ""]
    for word in text.split(","):
        if word in PREFIXES:
            chosen = list(PREFIXES[word])
        elif word in ENERGY or word in JOULES:
            chosen[0] = word
        elif word in CARBON:
            chosen[1] = word
        else:
            known = ", ".join([*PREFIXES, *ENERGY, *JOULES, *CARBON])
            raise UsageError(f"--units: unknown unit {word!r}; one of {known}")
    return chosen[0], chosen[1]


def rounded(value: int, unit: int) -> int:
    """Return `value` in whole `unit`s, rounded half up."""
    return (2 * value + unit) // (2 * unit)


def decimal(value: int, unit: int, places: int) -> str:
    """Return `value` in `unit`s with exactly `places` decimals."""
    if value < 0:
        return f"-{decimal(-value, unit, places)}"
    digits = rounded(value * 10**places, unit)
    return f"{digits // 10**places}.{digits % 10**places:0{places}}" if places else str(digits)


def grams(ug: int) -> str:
    """Return micrograms as grams: exactly, with three decimals or as many as it takes, so that nothing is 0.000."""
    text = decimal(ug, UG_PER_G, 6)
    return text[:-3] + text[-3:].rstrip("0")


def three_digits(value: int, unit: int) -> str:
    """Return `value` in `unit`s with three significant digits and without an exponent. Whole numbers are shown in full."""
    places = 0
    while value and rounded(value * 10 ** (places + 1), unit) < 1000:
        places += 1
    text = decimal(value, unit, places)
    return text.rstrip("0").rstrip(".") if places else text


def joules(uj: int) -> str:
    """Return microjoules as joules with all six decimals: nothing is rounded."""
    sign, amount = ("-" if uj < 0 else ""), abs(uj)
    return f"{sign}{amount // UJ_PER_J}.{amount % UJ_PER_J:06d}"


def _amount(value: int, size: int, unit: str) -> str:
    return f"{'-' if value < 0 else ''}{three_digits(abs(value), size)}{unit}"


def _fitting(value: int, units: dict[str, int], base: str) -> str:
    """Return `value` in the smallest unit that needs no more than three digits before the point, 0 in the unit `base`."""
    if value < 0:
        return f"-{_fitting(-value, units, base)}"
    smallest = next(iter(units))
    if value == 0:
        return f"0{base}"
    if value * 100 < units[smallest]:
        return f"<0.01{smallest}"
    unit, size = base, units[base]
    for unit, size in units.items():  # noqa: B007  the last one, where none fits
        if 2 * value < 1999 * size:  # rounded(value, size) < 1000
            break
    return _amount(value, size, unit)
