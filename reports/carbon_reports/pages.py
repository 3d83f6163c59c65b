# SPDX-License-Identifier: MIT
"""Renders a report's pages: figures and their provenance in, HTML out. Every text that a user chose is escaped."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from carbon_acct.client import fields, units
from carbon_acct.client.safe_text import visible

from .publish import file_stem
from .sums import intensity_g_per_kwh, percent_of

if TYPE_CHECKING:
    from collections.abc import Mapping

UNKNOWN = "–"
SCREEN = fields.Screen()
_field = lru_cache(fields.field)
NARROW_SPACE = "\u202f"


def render(template: str, facts: Mapping[str, Any]) -> str:
    """Return the page that a template makes of the facts."""
    return _environment().get_template(template).render(facts)


@lru_cache(maxsize=1024)  # a page says the same more than once
def energy(uj: int | None) -> str:
    """Return energy for people, with a space before its unit."""
    return UNKNOWN if uj is None else _spaced(units.energy(uj))


@lru_cache(maxsize=1024)
def carbon(ug: int | None) -> str:
    """Return a mass of CO2 equivalent for people, with a space before its unit."""
    return UNKNOWN if ug is None else _spaced(units.carbon(ug))


def grouped(number: int | None) -> str:
    """Return a whole number in groups of three digits."""
    return UNKNOWN if number is None else f"{number:,}".replace(",", NARROW_SPACE)


def percent(value: float | None) -> str:
    """Return a percentage. A value above 0 is not shown as 0."""
    if value is None:
        return UNKNOWN
    return f"<0.1{NARROW_SPACE}%" if 0 < value < 0.05 else f"{value:.1f}{NARROW_SPACE}%"


def covered(value: float | None) -> str:
    """Return a coverage, rounded down: 100 means all, not nearly all."""
    return percent(None if value is None else int(value * 10 + 1e-9) / 10)


def field(job: Mapping[str, Any], name: str) -> str:
    """Return a job's field as carbon-acct shows it."""
    return _field(name).show(job, SCREEN) or UNKNOWN


def _spaced(amount: str) -> str:
    return re.sub(r"(?<=\d)(?=[A-Za-z])", NARROW_SPACE, amount)


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        energy,
        carbon,
        grouped,
        percent,
        covered,
        field,
        visible,
        file_stem,
        percent_of,
        intensity_g_per_kwh,
    ):
        environment.filters[function.__name__] = function
    return environment
