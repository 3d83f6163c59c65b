# SPDX-License-Identifier: MIT
"""A report's pages: figures and their provenance in, HTML out; every text that a user chose is escaped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from carbon_acct import amounts, fields
from carbon_acct.text import visible

from .folder import file_stem

if TYPE_CHECKING:
    from collections.abc import Mapping

UNKNOWN = "–"
NARROW_SPACE = "\u202f"


def render(template: str, facts: Mapping[str, Any]) -> str:
    """The page that a template makes of the facts."""
    return _environment().get_template(template).render(facts)


def energy(uj: int | None) -> str:
    """Energy for people, with a space before its unit."""
    return UNKNOWN if uj is None else _spaced(amounts.energy(uj))


def carbon(ug: int | None) -> str:
    """Mass of CO2 equivalent for people, with a space before its unit."""
    return UNKNOWN if ug is None else _spaced(amounts.carbon(ug))


def grouped(number: int | None) -> str:
    """A whole number in groups of three digits."""
    return UNKNOWN if number is None else f"{number:,}".replace(",", NARROW_SPACE)


def percent(value: float | None) -> str:
    """A percentage; what is not quite all is not shown as 100, and what is not quite nothing not as 0."""
    if value is None:
        return UNKNOWN
    tenths = int(value * 10 + 1e-9) / 10
    return f"<0.1{NARROW_SPACE}%" if value > 0 and tenths == 0 else f"{tenths:.1f}{NARROW_SPACE}%"


def field(job: Mapping[str, Any], name: str) -> str:
    """A job's field as carbon-acct shows it."""
    return fields.field(name).show(job, fields.Screen()) or UNKNOWN


def _spaced(amount: str) -> str:
    return re.sub(r"(?<=\d)(?=[A-Za-z])", NARROW_SPACE, amount)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (energy, carbon, grouped, percent, field, visible, file_stem):
        environment.filters[function.__name__] = function
    return environment
