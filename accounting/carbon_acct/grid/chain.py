# SPDX-License-Identifier: MIT
"""The providers of each of the site's zones, in the order of preference: [grid] providers."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_acct.errors import ProviderError
from carbon_acct.grid.factors import factor
from carbon_acct.grid.provider import Provider
from carbon_acct.grid.providers import Means, parse_spec
from carbon_collector.errors import SettingsError

if TYPE_CHECKING:
    from carbon_collector.settings import Settings

TOKENS = ("electricitymaps", "entsoe", "eia", "openelectricity")


def chains(settings: Settings, zones: Collection[str]) -> dict[str, tuple[Provider, ...]]:
    """Return the providers by zone: those that name the zone, else those that name none. Raises SettingsError and
    ZoneError.
    """
    for_all: list[str] = []
    for_one: dict[str, list[str]] = {}
    for word in settings.words("grid", "providers"):
        zone, equals, spec = word.partition("=")
        if equals:
            for_one.setdefault(factor(zone, "[grid] providers").zone, []).append(spec)
        else:
            for_all.append(word)
    unused = sorted(for_one.keys() - set(zones))
    if unused:
        raise SettingsError(
            f"[grid] providers: zone {unused[0]} feeds nothing here; [site] zone and [grid] zones say what does"
        )
    means = _means(settings)
    found = {zone: tuple(_provider(spec, zone, means) for spec in for_one.get(zone, for_all)) for zone in sorted(zones)}
    return {zone: providers for zone, providers in found.items() if providers}


def _provider(spec: str, zone: str, means: Means) -> Provider:
    try:
        return parse_spec(spec, zone, means)
    except ProviderError as err:
        raise SettingsError(f"[grid] providers: {err}") from err


def _means(settings: Settings) -> Means:
    files = {slug: settings.text("grid", f"{slug}_token") for slug in TOKENS}
    addresses = dict(word.partition("=")[::2] for word in settings.words("grid", "addresses"))
    return Means({slug: Path(file) for slug, file in files.items() if file}, addresses)
