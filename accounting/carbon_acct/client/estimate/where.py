# SPDX-License-Identifier: MIT
"""Finds the place where a job would run (a zone, a provider's region or a given intensity) and places to compare it
with.

Only places of the same scope are compared: direct figures leave out a part of lifecycle figures.
"""

from __future__ import annotations

from fractions import Fraction

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from ..regions import region, regions
from ..zones import factors, find, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..zones import Factor

TOGETHER = ("EU", "WORLD")
"""The zones that are means of other zones, so that no job can run there."""
MOST = 5000
KILOGRAMS = "kg"


class Place(NamedTuple):
    """A place and its intensity. `name`: a zone or PROVIDER:REGION; `text`: zone, source, year and scope."""

    name: str
    g_per_kwh: Fraction
    text: str
    zone: str = ""
    scope: str = ""
    long_name: str = ""
    pue: str = ""
    pue_text: str = ""


def chosen(options: Mapping[str, str], home: str) -> Place:
    """Return the place that the options name, else the site's own zone. Raises UsageError."""
    if options.get("intensity"):
        return _given(options["intensity"])
    if options.get("region") and options.get("zone"):
        raise UsageError("--zone and --region exclude each other")
    if options.get("region"):
        return of_region(options["region"])
    return of_zone(options["zone"], "--zone") if options.get("zone") else of_zone(home, "[site] zone")


def of_zone(name: str, setting: str = "--compare") -> Place:
    """Return the place of a zone in the shipped factors. Raises UsageError."""
    f = find(name)
    if f is None:
        raise UsageError(f"{setting} {name}: no such zone; {nearest(name)}")
    return Place(f.zone, Fraction(f.g_per_kwh), f"{f.zone}, {_source(f)}", f.zone, f.scope, f.name)


def of_region(name: str) -> Place:
    """Return the place of a provider's region, with its zone's factor and the PUE that is published for it. Raises
    UsageError.
    """
    found = region(name)
    place = of_zone(found.zone)
    says = f"GSF {found.pue_year}, not the provider's word" if found.pue else ""
    text = f"{found.name}, {place.text}"
    return place._replace(name=found.name, text=text, long_name=found.place, pue=found.pue, pue_text=says)


def is_places(text: str) -> bool:
    """Return whether a word can be a list of places: `FR,DE`, `aws:eu-west-3`."""
    known = {zone.casefold() for zone in factors()} | set(regions())
    return bool(text) and all(word.strip().casefold() in known for word in text.split(","))


def beside(place: Place, names: str) -> list[Place]:
    """Return `place` and the places to compare it with, sorted by intensity.

    They are those in `names`, else the cleanest and the dirtiest of the same kind. Raises UsageError if the scopes
    differ.
    """
    if names:
        others = [of_region(word) if ":" in word else of_zone(word) for word in names.split(",") if word.strip()]
    elif not place.scope:
        raise UsageError("--compare needs a place to begin with: --zone or --region")
    else:
        others = _ends(place)
    for other in others:
        if other.scope != place.scope:
            raise UsageError(
                f"--compare: {other.name} has a {other.scope} factor and {place.name} a {place.scope or 'given'} one,"
                " which cannot be compared; name places of one scope"
            )
    named = {other.name: other for other in (*others, place)}
    return sorted(named.values(), key=lambda one: (one.g_per_kwh, one.name))


def _ends(place: Place) -> list[Place]:
    if ":" in place.name:
        provider = place.name.partition(":")[0]
        same = [of_region(name) for name in regions() if name.startswith(f"{provider}:")]
    else:
        same = [of_zone(zone) for zone in factors() if zone not in TOGETHER]
    same = [one for one in same if one.scope == place.scope and one.g_per_kwh > 0]
    order = sorted(same, key=lambda one: (one.g_per_kwh, one.name))
    return [order[0], order[-1]]


def _given(text: str) -> Place:
    try:
        value = Fraction(text.strip().removesuffix(KILOGRAMS)) * (1000 if text.strip().endswith(KILOGRAMS) else 1)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not 0 <= value <= MOST:
        raise UsageError(f"--intensity {text}: not a number of grams for a kWh, 0 to {MOST}")
    if 0 < value < 1 and not text.strip().endswith(KILOGRAMS):
        raise UsageError(f"--intensity {text}: grams for a kWh are meant; write {float(value) * 1000:g}, or {text}kg")
    return Place("given", value, "given")


def _source(f: Factor) -> str:
    owner = "Ember" if f.source.startswith("Ember") else f.source.split(",")[0]
    return f"{owner} {f.year}, yearly, {f.scope}" if f.year not in owner else f"{owner}, yearly, {f.scope}"
