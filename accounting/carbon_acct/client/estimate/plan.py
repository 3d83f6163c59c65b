# SPDX-License-Identifier: MIT
"""Completes an estimate: energy on a basis, the facility's overhead, carbon at a place. Returns rows and JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from . import show
from .equivalents import equivalents
from .show import Row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .model import Energy
    from .where import Place


class Pue(NamedTuple):
    """Power usage effectiveness; `value` None: not known. `text` names its source, and is empty if the user gave it."""

    value: Fraction | None = None
    text: str = ""

    @property
    def factor(self) -> Fraction:
        """Return the factor from IT energy to facility energy; 1 if the PUE is not known."""
        return Fraction(1) if self.value is None else self.value


@dataclass
class Figures:
    """The figures of an estimate: kWh of the devices, and grams; low and high if an interval is known."""

    basis: str
    kwh: Fraction | None
    low_kwh: Fraction | None = None
    high_kwh: Fraction | None = None
    most_kwh: Fraction | None = None
    """The energy in kWh if the job runs until its time limit."""
    grams: Fraction | None = None
    low_grams: Fraction | None = None
    high_grams: Fraction | None = None
    most_grams: Fraction | None = None
    notes: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def at(self, pue: Pue, place: Place) -> Figures:
        """Fill in the grams at the intensity of a place, and return these figures."""
        for name in ("", "low_", "high_", "most_"):
            energy = getattr(self, f"{name}kwh")
            setattr(self, f"{name}grams", None if energy is None else energy * pue.factor * place.g_per_kwh)
        return self


def hardware_figures(energy: Energy, pue: Pue, place: Place) -> Figures:
    """Return the figures of an estimate by hardware. The lower bound is idle, the upper one full use."""
    found = Figures("hardware", energy.kwh, energy.idle_kwh, energy.full_kwh, notes=list(energy.notes))
    found.more["parts"] = [
        {"component": part.label, "text": part.text, "kwh": float(part.kwh), "idle_kwh": float(part.idle_kwh)}
        for part in energy.parts
    ]
    found.more["left_out"] = [*energy.left_out, *(("PUE",) if pue.value is None else ())]
    return found.at(pue, place)


def hardware_rows(
    energy: Energy, figures: Figures, pue: Pue, place: Place, use: Fraction | None, limit: bool = False
) -> list[Row]:
    """Return the rows of an estimate by hardware. `limit`: the hours are those of the time limit."""
    rows = [Row(part.label, part.text, show.kwh(part.kwh)) for part in energy.parts]
    if len(rows) > 1:
        rows.append(Row("Energy", "together", show.kwh(energy.kwh)))
    if pue.value is not None:
        text = f"x PUE {float(pue.value):g}{f' ({pue.text})' if pue.text else ''}"
        rows.append(Row("Facility", text, show.kwh(energy.kwh * pue.value)))
    interval = show.gram_range(figures.low_grams or Fraction(0), figures.high_grams or Fraction(0))
    rows.append(Row("Carbon", intensity_text(place), show.grams(figures.grams or Fraction(0)), interval))
    until = " up to the time limit" if limit else ""
    used = f"at full use{until}: an upper bound" if use is None else f"at {float(use):g} of full use{until}"
    rows.append(Row("Basis", f"hardware {used}{_left_out(figures.more['left_out'])}"))
    return rows + [Row("Note", note) for note in figures.notes]


def intensity_text(place: Place) -> str:
    """Return the factor of a place as text: `x 44.18 g/kWh (FR, Ember 2024, yearly, lifecycle)`."""
    return f"x {float(place.g_per_kwh):.10g} g/kWh ({place.text})"


def compare_rows(places: Sequence[Place], here: Place, kwh: Fraction, pue: Pue) -> list[Row]:
    """Return a row for each place. `places` are sorted by intensity. Energy and PUE are the same at every place."""
    rows = []
    for place in places:
        ends = "Cleanest" if place == places[0] else "Dirtiest" if place == places[-1] else "There"
        label = "Here" if place.name == here.name else ends
        name = f"{place.name} ({place.long_name})" if place.long_name else place.name
        text = f"{name}, {float(place.g_per_kwh):.10g} g/kWh {place.scope}"
        rows.append(Row(label, text, show.grams(kwh * pue.factor * place.g_per_kwh)))
    return rows


def as_json(figures: Figures, pue: Pue, place: Place, compared: Sequence[Place]) -> dict[str, Any]:
    """Return an estimate as JSON has it: kWh, grams and g/kWh as doubles."""
    facility = None if figures.kwh is None else figures.kwh * pue.factor
    return {
        "basis": figures.basis,
        "energy_kwh": _float(figures.kwh),
        "energy_kwh_range": _range(figures.low_kwh, figures.high_kwh),
        "energy_kwh_at_most": _float(figures.most_kwh),
        "pue": _float(pue.value),
        "pue_source": pue.text or ("given" if pue.value is not None else None),
        "facility_kwh": _float(facility),
        "intensity_g_per_kwh": float(place.g_per_kwh),
        "intensity_source": place.text,
        "zone": place.zone or None,
        "place": place.name,
        "scope": place.scope or None,
        "carbon_g": _float(figures.grams),
        "carbon_g_range": _range(figures.low_grams, figures.high_grams),
        "carbon_g_at_most": _float(figures.most_grams),
        "equivalents": _equivalents(figures.grams),
        "compare": [
            {
                "place": one.name,
                "name": one.long_name,
                "g_per_kwh": float(one.g_per_kwh),
                "scope": one.scope,
                "carbon_g": _float(None if facility is None else facility * one.g_per_kwh),
            }
            for one in compared
        ],
        "notes": figures.notes,
        **figures.more,
    }


def _equivalents(grams: Fraction | None) -> list[dict[str, Any]]:
    if grams is None:
        return []
    return [
        {"name": one.name, "amount": float(one.amount(grams)), "unit": one.text, "year": one.year, "source": one.source}
        for one in equivalents()
    ]


def _left_out(names: Sequence[str]) -> str:
    if not names:
        return ""
    plural = len(names) > 1 or names[0].endswith("s")
    were, are = ("were", "are") if plural else ("was", "is")
    return f"; {show.listed(names)} {were} not given and {are} not in it"


def _float(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _range(low: Fraction | None, high: Fraction | None) -> list[float] | None:
    return None if low is None or high is None else [float(low), float(high)]
