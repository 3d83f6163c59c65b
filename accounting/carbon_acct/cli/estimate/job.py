# SPDX-License-Identifier: MIT
"""`carbon-estimate` for a job that has not run: out of its options and script, on the best basis that there is."""

from __future__ import annotations

import csv
import json
import os
import sys

from carbon_collector import __version__
from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from .common import PROGRAM, configuration, hours_of, number, place_and_pue
from .tables import accelerators

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ...client.estimate.asked import Asked
    from ...client.estimate.options import Words
    from ...client.estimate.plan import Figures, Pue
    from ...client.estimate.show import Row
    from ...client.estimate.where import Place

BASES = ("auto", "history", "partition", "hardware")


def run(line: Words) -> int:
    """Estimate and print."""
    from ...client.estimate import script
    from ...client.estimate.asked import asked

    given = line.options
    basis = given.get("basis", "auto")
    if basis not in BASES:
        raise UsageError(f"--basis {basis}: one of {', '.join(BASES)}")
    text = script.read(line.rest[0]) if line.rest else ""
    options = script.job_options(line, os.environ, text)
    components = [asked(one) for one in options]
    return _by_hardware(given, components)


def _by_hardware(given: Mapping[str, str], components: Sequence[Asked]) -> int:
    from ...client.estimate import model, plan

    config = configuration()
    place, pue = place_and_pue(given, config)
    hours = [hours_of(given, one) for one in components]
    if None in hours:
        raise UsageError("say how long the job takes: --hours H, or -t TIME")
    use = number("utilization", given["utilization"], 0, 1) if "utilization" in given else None
    watts = number("watts", given["watts"], 0, 100_000) if "watts" in given else None
    choice = model.Choice(accelerators(config), watts, given.get("cpu-type", ""), use)
    energy = model.energy(components, [hour for hour in hours if hour is not None], choice)
    figures = plan.hardware_figures(energy, pue, place)
    rows = plan.hardware_rows(energy, figures, pue, place, use)
    return finish(given, rows, figures, pue, place)


def finish(given: Mapping[str, str], rows: list[Row], figures: Figures, pue: Pue, place: Place) -> int:
    """Print an estimate as it is asked for, with the places that it is compared with."""
    from ...client.estimate import plan, show, where

    compared = where.beside(place, given["compare"]) if "compare" in given else []
    if compared and figures.kwh is not None:
        at = next((i for i, row in enumerate(rows) if row.label == "Basis"), len(rows))
        rows = [*rows[:at], *plan.compare_rows(compared, place, figures.kwh, pue), *rows[at:]]
    if "json" in given or "csv" in given:
        found = plan.as_json(figures, pue, place, compared)
        return _json(found) if "json" in given else _csv(found)
    for text in show.lines(rows):
        print(text)
    return 0


def _json(found: dict[str, Any]) -> int:
    print(json.dumps({"meta": {"program": PROGRAM, "version": __version__}, "estimate": found}, indent=2))
    return 0


def _csv(found: Mapping[str, Any]) -> int:
    """One line of the figures; an interval is two columns."""
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if name.endswith("_range"):
            flat[f"{name[:-6]}_low"], flat[f"{name[:-6]}_high"] = value or (None, None)
        elif not isinstance(value, (list, dict)):
            flat[name] = value
    writer = csv.DictWriter(sys.stdout, list(flat), lineterminator="\n")
    writer.writeheader()
    writer.writerow(flat)
    return 0
