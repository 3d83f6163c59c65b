# SPDX-License-Identifier: MIT
"""What the forms of carbon-estimate share: the settings as far as they can be read, the place, the PUE, numbers."""

from __future__ import annotations

import os

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from .. import warn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from carbon_collector.settings import Settings

    from ...client.estimate.asked import Asked
    from ...client.estimate.plan import Pue
    from ...client.estimate.where import Place

PROGRAM = "carbon-estimate"
VARIABLES = {
    "CARBON_ACCT_AGGREGATORS": ("collector", "aggregators"),
    "CARBON_ACCT_ACCELERATORS": ("site", "accelerators"),
    "CARBON_ACCT_MUNGE_SOCKET": ("slurm", "munge_socket"),
    "CARBON_ACCT_PUE": ("site", "pue"),
    "CARBON_ACCT_ZONE": ("site", "zone"),
}
"""Settings for whom the configuration file cannot be read."""


def configuration() -> Settings:
    """Return the settings, as far as they can be read: a login node may have none, and none has to."""
    from carbon_collector import settings

    found = settings.load(strict=False)
    for warning in found.warnings:
        if "Permission denied" not in warning:
            warn(PROGRAM, f"warning: {warning}")
    values = {setting: os.environ[name] for name, setting in VARIABLES.items() if os.environ.get(name)}
    return found.replaced(values, "CARBON_ACCT_*") if values else found


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


def hours_of(given: Mapping[str, str], asked: Asked) -> Fraction | None:
    """Return the hours that an estimate by hardware is for: those that are given, else the time limit."""
    from fractions import Fraction

    if "hours" in given:
        return number("hours", given["hours"], 0, 1e9)
    return None if asked.limit_s is None else Fraction(asked.limit_s, 3600)
