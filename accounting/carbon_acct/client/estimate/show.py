# SPDX-License-Identifier: MIT
"""Writes the figures of an estimate for people: in columns, with no more digits than their accuracy justifies."""

from __future__ import annotations

import re
import textwrap
from fractions import Fraction

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MASSES = ((Fraction(1), "g", 1), (Fraction(10**3), "kg", 3), (Fraction(10**6), "t", 3), (Fraction(10**9), "kt", 3))
"""The units of mass: grams of the unit, its name, and its decimals. Grams are shown to a tenth, the others to a
thousandth.
"""


LABEL = 10
"""The columns of a row's label."""


class Row(NamedTuple):
    """A line of output: its label, how its figure was obtained, the figure, and its range."""

    label: str
    text: str
    value: str = ""
    interval: str = ""


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield rows in columns. A row without a figure does not widen them."""
    figures = [row for row in rows if row.value]
    text = max((len(row.text) for row in figures), default=0) + 4
    value = max((len(row.value) for row in figures), default=0) + 2
    for row in rows:
        label = f"{row.label:<{LABEL}}"
        yield (
            f"{label}{row.text:<{text}}{row.value:<{value}}{row.interval}" if row.value else label + row.text
        ).rstrip()


def fitted(line: str, width: int) -> list[str]:
    """Return a line of output for a terminal of `width` columns: a longer one is broken between its cells, then between
    words. A command to copy stays in one piece.
    """
    if len(line) <= width:
        return [line]
    indent, room = " " * LABEL, max(20, width - LABEL)
    found: list[str] = []
    for cell in re.split(" {2,}", line[LABEL:].strip()):
        whole = [cell] if cell.startswith("sbatch ") else textwrap.wrap(cell, room, break_on_hyphens=False)
        if found and len(found[-1]) + 4 + len(whole[0]) <= room:
            found[-1] += " " * 4 + whole.pop(0)
        found += whole
    return [(line[:LABEL] if at == 0 else indent) + text for at, text in enumerate(found)]


def kwh(value: Fraction) -> str:
    """Return an energy as `1.600 kWh`."""
    return f"{places(value, 3)} kWh"


def grams(value: Fraction) -> str:
    """Return a mass as `84.8 g` or `12.960 kg`."""
    size, unit, digits = _mass(value)
    return f"{places(value / size, digits)} {unit}"


def gram_range(low: Fraction, high: Fraction) -> str:
    """Return a range as `12.7 to 84.8 g`, both in the unit of the upper one."""
    size, unit, digits = _mass(high)
    return f"{places(low / size, digits)} to {places(high / size, digits)} {unit}"


def places(value: Fraction, digits: int) -> str:
    """Return a number with `digits` decimals, rounded half up, computed without doubles."""
    scaled = value * 10**digits
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return f"{whole // 10**digits}.{whole % 10**digits:0{digits}}" if digits else str(whole)


def rough(value: Fraction) -> str:
    """Return a predicted figure with the few digits that a prediction justifies: `848`, `16.0`, `2.2`, `0.31`."""
    if value >= 100 or value == 0:
        return places(value, 0)
    return places(value, 1 if value >= 1 else 2 if value >= Fraction(1, 10) else 3)


def rough_grams(value: Fraction) -> str:
    """Return a predicted mass as `848 g` or `2.2 kg`."""
    size, unit, _ = _mass(value)
    return f"{rough(value / size)} {unit}"


def rough_range(low: Fraction, high: Fraction, like: Fraction) -> str:
    """Return a range as `9.1 to 21.4`, with as many decimals as `rough` gives `like`."""
    digits = len(rough(like).partition(".")[2])
    return f"{places(low, digits)} to {places(high, digits)}"


def watts(value: float) -> str:
    """Return a power as `1.74 kW` or `350 W`."""
    return f"{value / 1000:.3g} kW" if value >= 1000 else f"{value:.3g} W"


def duration(seconds: float) -> str:
    """Return a time as `9 h 12 min`, `24 h`, `3 min` or `40 s`."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, rest = divmod(minutes, 60)
    return " ".join(filter(None, (f"{hours} h" if hours else "", f"{rest} min" if rest else ""))) or "0 min"


def listed(names: Sequence[str]) -> str:
    """Return names as `CPUs, memory and PUE`."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def mass_unit(value: Fraction) -> tuple[Fraction, str]:
    """Return the unit that suits a mass: its grams and its name."""
    size, unit, _ = _mass(value)
    return size, unit


def _mass(value: Fraction) -> tuple[Fraction, str, int]:
    for size, unit, digits in MASSES:
        if value < 1000 * size - size / 20:
            return size, unit, digits
    return MASSES[-1]
