# SPDX-License-Identifier: MIT
"""Computes and shows an estimate whose power is that of earlier jobs. `plan` does so for the power of the hardware."""

from __future__ import annotations

from fractions import Fraction

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from . import show
from .plan import Figures
from .show import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from .plan import Pue
    from .where import Place

S_PER_H = 3600


class Run(NamedTuple):
    """The expected run time of a job in seconds: typical, low, high and at most. None: not known."""

    typical: float | None = None
    low: float | None = None
    high: float | None = None
    most: float | None = None


def figures(basis: str, watts: float, run: Run, pue: Pue, intensity: Callable[[float], float]) -> Figures:
    """Return energy and grams of a run. `intensity` takes the seconds of a run that begins now, and returns its mean in
    g/kWh.
    """
    found = Figures(basis, None)
    for name, seconds in (("", run.typical), ("low_", run.low), ("high_", run.high), ("most_", run.most)):
        if seconds is not None:
            kwh = Fraction(watts * seconds / S_PER_H / 1000)
            setattr(found, f"{name}kwh", kwh)
            setattr(found, f"{name}grams", kwh * pue.factor * Fraction(intensity(seconds)))
    found.more["watts"] = watts
    return found


def rows(text: str, found: Figures, run: Run, pue: Pue, priced: str, place: Place) -> list[list[str]]:
    """Return the lines of the table as cells: label, figure, explanation, range, upper limit.

    `text` names the basis of the energy. `priced` names the intensities that the carbon was computed with; if it is
    empty, `place` is named.
    """
    most = f"at most ({show.duration(run.most)})" if run.most else ""
    ranged = "10 to 90 %" if found.low_kwh is not None else ""
    lines = [["Basis", "", text, ranged, most]]
    like = found.kwh if found.kwh is not None else found.most_kwh or Fraction(0)
    facility = (
        f"facility {show.rough(like * pue.factor)} kWh" if pue.value is not None and found.kwh is not None else ""
    )
    lines.append(
        [
            "Energy",
            "" if found.kwh is None else f"{show.rough(found.kwh)} kWh",
            facility,
            _range(found.low_kwh, found.high_kwh, like),
            "" if found.most_kwh is None else f"{show.rough(found.most_kwh)} kWh",
        ]
    )
    size = show.mass_unit(found.grams or found.most_grams or Fraction(0))[0]
    lines.append(
        [
            "Carbon",
            "" if found.grams is None else show.rough_grams(found.grams),
            priced or f"at {float(place.g_per_kwh):.10g} g/kWh ({place.text})",
            _range(found.low_grams, found.high_grams, found.grams, size),
            "" if found.most_grams is None else show.rough_grams(found.most_grams),
        ]
    )
    return lines


def laid_out(cells: list[list[str]], others: list[Row]) -> list[str]:
    """Return the lines in columns. The text of the basis begins in the column of the figures."""
    body = [f"{figure:<12}{text}" if label != "Basis" else text for label, figure, text, *_ in cells]
    width = max(len(text) for text in body) + 4
    ranges = max((len(cell[3]) for cell in cells), default=0) + 2
    lines = [f"{cell[0]:<10}{text:<{width}}{cell[3]:<{ranges}}{cell[4]}".rstrip() for cell, text in zip(cells, body)]
    return lines + [f"{row.label:<10}{f'{row.value:<12}' if row.value else ''}{row.text}".rstrip() for row in others]


def _range(low: Fraction | None, high: Fraction | None, like: Fraction | None, size: Fraction = Fraction(1)) -> str:
    if low is None or high is None or like is None:
        return ""
    return show.rough_range(low / size, high / size, like / size)
