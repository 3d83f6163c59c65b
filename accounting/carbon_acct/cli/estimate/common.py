# SPDX-License-Identifier: MIT
"""What the forms of carbon-estimate share: the settings as far as they can be read, the place, the PUE, numbers."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys

from carbon_collector import __version__
from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from .. import warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction
    from typing import Any

    from carbon_collector.settings import Settings

    from ...client.estimate.asked import Asked
    from ...client.estimate.plan import Figures, Pue
    from ...client.estimate.where import Place

PROGRAM = "carbon-estimate"
VARIABLES = {
    "CARBON_ACCT_AGGREGATORS": ("collector", "aggregators"),
    "CARBON_ACCT_ACCELERATORS": ("site", "accelerators"),
    "CARBON_ACCT_FACTORS": ("grid", "factors"),
    "CARBON_ACCT_MUNGE_SOCKET": ("slurm", "munge_socket"),
    "CARBON_ACCT_PUE": ("site", "pue"),
    "CARBON_ACCT_RUN_DIR": ("collector", "run_dir"),
    "CARBON_ACCT_ZONE": ("site", "zone"),
}
"""Settings for whom the configuration file cannot be read."""


def configuration() -> Settings:
    """Return the settings, as far as they can be read: a login node may have none, and none has to."""
    from carbon_collector import settings

    from ...client.zones import use

    found = settings.load(strict=False)
    for warning in found.warnings:
        if "Permission denied" not in warning:
            warn(PROGRAM, f"warning: {warning}")
    values = {setting: os.environ[name] for name, setting in VARIABLES.items() if os.environ.get(name)}
    found = found.replaced(values, "CARBON_ACCT_*") if values else found
    use(found.text("grid", "factors"))
    return found


def place_and_pue(given: Mapping[str, str], config: Settings) -> tuple[Place, Pue]:
    """Return where the job would run, and the PUE there: the given one, the region's, else the site's own."""
    from ...client.estimate import where
    from ...client.estimate.plan import Pue

    home = config.text("site", "zone")
    place = where.chosen(given, home)
    if "pue" in given:
        return place, Pue(number("pue", given["pue"], 1, 10))
    if place.pue:
        return place, Pue(number("pue", place.pue, 1, 10), place.pue_text)
    stated = config.origin("site", "pue") != "default"
    elsewhere = "region" in given or "intensity" in given or ("zone" in given and place.name != home)
    try:
        return place, Pue(
            number("pue", config.text("site", "pue"), 1, 10), "the site's"
        ) if stated and not elsewhere else Pue()
    except UsageError:  # a series of dates, which the aggregator knows
        return place, Pue()


def number(option: str, text: str, least: float, most: float) -> Fraction:
    """Return an option's value, exact. Raises UsageError."""
    from fractions import Fraction

    try:
        value = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not least <= value <= most:
        raise UsageError(f"--{option} {text}: not a number from {least:g} to {most:g}")
    return value


def positive(option: str, text: str, most: float) -> Fraction:
    """Return an option's value, exact and above 0. Raises UsageError."""
    value = number(option, text, 0, most)
    if not value:
        raise UsageError(f"--{option} {text}: not a number above 0")
    return value


def hours_of(given: Mapping[str, str], asked: Asked) -> Fraction | None:
    """Return the hours that an estimate by hardware is for: those that are given, else the time limit."""
    from fractions import Fraction

    if "hours" in given:
        return positive("hours", given["hours"], 1e9)
    return None if asked.limit_s is None else Fraction(asked.limit_s, 3600)


def span(text: str) -> float:
    """Return the seconds of a time: `24h`, `90m`, `2d`, or one as --time takes it. Raises UsageError."""
    from carbon_collector.settings import parse_seconds

    from ...client.estimate.asked import limit_s

    try:
        seconds: float | None = parse_seconds(text) if text.strip()[-1:].isalpha() else limit_s(text)
    except (ValueError, KeyError):
        seconds = None
    if not seconds or seconds > 366 * 86400:
        raise UsageError(f"--within {text}: not a time; it looks like 24h, 90m or 2-0")
    return seconds


def finish(given: Mapping[str, str], lines: Sequence[str], figures: Figures, pue: Pue, place: Place) -> int:
    """Print an estimate as it is asked for, with the places that it is compared with."""
    from ...client.estimate import plan, show, where

    compared = where.beside(place, given["compare"]) if "compare" in given else []
    if "json" in given or "csv" in given:
        found = plan.as_json(figures, pue, place, compared)
        return _json(found) if "json" in given else _csv(found)
    energy = figures.most_kwh if figures.kwh is None else figures.kwh
    others = plan.compare_rows(compared, place, energy, pue) if energy is not None else []
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for text in (*lines, *show.lines(others)):
        print(*(show.fitted(text, width) if width else [text]), sep="\n")
    return 0


def _json(found: dict[str, Any]) -> int:
    print(json.dumps({"meta": {"program": PROGRAM, "version": __version__}, "estimate": found}, indent=2))
    return 0


def _csv(found: Mapping[str, Any]) -> int:
    """Print the figures as CSV, and return the exit status. An interval takes two columns, a begin several."""
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if name.endswith("_range"):
            flat[f"{name[:-6]}_low"], flat[f"{name[:-6]}_high"] = value or (None, None)
        elif isinstance(value, dict):
            flat.update({f"{name}_{part}": of for part, of in value.items()})
        elif not isinstance(value, list):
            flat[name] = value
    writer = csv.DictWriter(sys.stdout, list(flat), lineterminator="\n")
    writer.writeheader()
    writer.writerow(flat)
    return 0
