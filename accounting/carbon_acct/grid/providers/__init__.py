# SPDX-License-Identifier: MIT
"""The providers of grid intensities, by their names in the settings.

A new one is one file here and one entry in PROVIDERS.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carbon_acct.client.zones import factors, renamed
from carbon_acct.errors import ProviderError
from carbon_acct.grid.provider import DIRECT, LIFECYCLE, Access, Patience, Provider
from carbon_acct.grid.providers import (
    constant,
    csvfile,
    eia,
    electricitymaps,
    energidata,
    energycharts,
    entsoe,
    openelectricity,
    rte,
    uk,
    yearly,
)


@dataclass(frozen=True)
class Entry:
    """How a provider is made, and what may follow its name."""

    make: Callable[[Access], Provider]
    argument: str = ""
    needs_argument: bool = False
    needs_token: bool = False
    # Whether `+direct` or `+lifecycle` may follow its name.
    has_scopes: bool = False


PROVIDERS: dict[str, Entry] = {
    electricitymaps.SLUG: Entry(electricitymaps.electricitymaps, argument="zone", needs_token=True, has_scopes=True),
    uk.SLUG: Entry(uk.uk, argument="region 1 to 17"),
    energidata.SLUG: Entry(energidata.energidata, argument="DK1 or DK2"),
    rte.SLUG: Entry(rte.rte),
    energycharts.SLUG: Entry(energycharts.energycharts, argument="country"),
    entsoe.SLUG: Entry(entsoe.entsoe, argument="area", needs_token=True),
    eia.SLUG: Entry(eia.eia, argument="balancing authority", needs_token=True),
    openelectricity.SLUG: Entry(openelectricity.openelectricity, argument="region", needs_token=True),
    csvfile.SLUG: Entry(csvfile.csvfile, argument="/path/file.csv", needs_argument=True, has_scopes=True),
    constant.SLUG: Entry(constant.constant, argument="g/kWh", needs_argument=True, has_scopes=True),
    yearly.SLUG: Entry(yearly.yearly, argument="zone"),
}


# Services whose signal answers another question than what a kWh carried.
MARGINAL = frozenset({"watttime"})


@dataclass(frozen=True)
class Means:
    """What the settings state about the providers: files with tokens and other addresses, by provider."""

    token_files: Mapping[str, Path] = field(default_factory=dict)
    base_urls: Mapping[str, str] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)


def parse_spec(text: str, zone: str, means: Means | None = None) -> Provider:
    """Return the provider that `name`, `name:argument` or `name+direct:argument` means in a zone.

    Raises ProviderError, and ZoneError for an unknown zone of the yearly table.
    """
    known = means or Means()
    head, _, argument = text.strip().partition(":")
    slug, plus, scope = head.strip().casefold().partition("+")
    entry = PROVIDERS.get(slug)
    if slug in MARGINAL:
        raise ProviderError(
            f"{text}: {slug} has the marginal emissions of one kWh more; that is advice when to run, and prices no job",
            permanent=True,
        )
    if entry is None:
        raise ProviderError(f"{text}: no such provider; {_nearest(slug)}", permanent=True)
    _check(text, slug, entry, argument.strip(), (plus, scope), known)
    access = Access(
        zone, argument.strip(), scope, known.token_files.get(slug), known.base_urls.get(slug), known.patience
    )
    return entry.make(access)


def _check(text: str, slug: str, entry: Entry, argument: str, scope: tuple[str, str], means: Means) -> None:
    plus, wanted = scope
    if now := renamed(argument):
        raise ProviderError(f"{text}: {now}", permanent=True)
    if argument and not entry.argument:
        raise ProviderError(f"{text}: {slug} takes nothing behind a colon", permanent=True)
    if entry.needs_argument and not argument:
        raise ProviderError(f"{text}: write {slug}:{entry.argument.upper().replace(' ', '_')}", permanent=True)
    if plus and not entry.has_scopes:
        raise ProviderError(f"{text}: {slug} has one scope only; leave out +{wanted}", permanent=True)
    if plus and wanted not in (LIFECYCLE, DIRECT):
        raise ProviderError(f"{text}: no scope is named {wanted!r}; +{LIFECYCLE} or +{DIRECT}", permanent=True)
    if entry.needs_token and slug not in means.token_files:
        raise ProviderError(f"{text}: {slug} needs a token; [grid] {slug}_token names its file", permanent=True)


def _nearest(slug: str) -> str:
    close = difflib.get_close_matches(slug, PROVIDERS, 1, 0.4)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(PROVIDERS)}"


# Who knows a zone well and asks for no token, the best first. Nothing is asked of them unless the settings say so.
KEYLESS = {"FR": rte.SLUG, "GB": uk.SLUG, "DK1": energidata.SLUG, "DK2": energidata.SLUG}


def suggested(zone: str) -> tuple[str, ...]:
    """Return the chain of providers that suits a zone, as the settings spell it. It is advice, never a default."""
    known = zone.strip().upper()
    own = [KEYLESS[known]] if known in KEYLESS else []
    # Energy-Charts has countries, not price areas, and Great Britain's own service is the better one there.
    european = [energycharts.SLUG] if known in energycharts.COUNTRIES else []
    elsewhere = [] if own or european else [electricitymaps.SLUG]
    return (*own, *european, *elsewhere, _last_resort(known))


def _last_resort(zone: str) -> str:
    """Return the yearly table, by the country where it does not have the zone itself."""
    if zone.casefold() in {known.casefold() for known in factors()}:
        return yearly.SLUG
    return f"{yearly.SLUG}:{zone[:2] if zone[:2] in factors() else 'WORLD'}"
