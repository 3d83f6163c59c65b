# SPDX-License-Identifier: MIT
"""Reads and writes energy, carbon and time in the form that people use."""

from __future__ import annotations

J_PER_KWH = 3_600_000.0
ENERGY = {"J": 1.0, "KJ": 1e3, "MJ": 1e6, "WH": 3600.0, "KWH": J_PER_KWH, "MWH": 1e3 * J_PER_KWH}
TIME = {"S": 1.0, "M": 60.0, "H": 3600.0, "D": 86400.0, "": 1.0}
CARBON = {"MG": 1e-3, "G": 1.0, "KG": 1e3, "T": 1e6}


def energy_j(text: str) -> float:
    """Return the joules of a text such as `1.5kWh`. Raises ValueError."""
    return _amount(text, ENERGY, "an energy, such as 500Wh, 1.5kWh or 3MJ")


def carbon_g(text: str) -> float:
    """Return the grams of a text such as `2kg`. Raises ValueError."""
    return _amount(text, CARBON, "a mass of CO2e, such as 500g or 2kg")


def seconds(text: str) -> float:
    """Return the seconds of a text such as `30`, `90s` or `5m`. Raises ValueError."""
    return _amount(text, TIME, "a time, such as 90s, 5m or 12h")


def _amount(text: str, units: dict[str, float], what: str) -> float:
    stripped = text.strip()
    number = stripped.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = stripped[len(number) :].upper()
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if unit not in units or not 0 < value < float("inf"):
        raise ValueError(f"{text!r} is not {what}")
    return value * units[unit]


def energy_text(joules: float | None) -> str:
    """Return an energy with three digits and a unit; `energy not known` for None."""
    if joules is None:
        return "energy not known"
    for factor, unit in ((1e3 * J_PER_KWH, "MWh"), (J_PER_KWH, "kWh"), (3600.0, "Wh"), (1.0, "J")):
        if joules >= factor or unit == "J":
            return f"{digits(joules / factor)} {unit}"
    return ""


def carbon_text(grams: float | None) -> str:
    """Return a mass with three digits and a unit; `carbon not known` for None."""
    if grams is None:
        return "carbon not known"
    for factor, unit in ((1e6, "t"), (1e3, "kg"), (1.0, "g"), (1e-3, "mg")):
        if grams >= factor or unit == "mg":
            return f"{digits(grams / factor)} {unit}"
    return ""


def time_text(seconds: float) -> str:
    """Return a time as `4.2 s`, `3 min 20 s`, `2 h 05 min` or `3 d 4 h`."""
    if seconds < 60:
        return f"{digits(seconds)} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s"


def digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    if value == 0 or value < 0.001:
        return f"{value:.2g}" if value else "0"
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    if value < 1:
        decimals = 3
    return f"{value:.{decimals}f}"
