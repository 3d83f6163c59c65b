# SPDX-License-Identifier: MIT
"""The zones of the grid and the yearly factors that are shipped.

Ember's yearly electricity data (CC BY 4.0, by way of Our World in Data), US EPA eGRID (public domain), Environment and
Climate Change Canada (Open Government Licence - Canada), Australia's National Greenhouse Accounts (CC BY 4.0);
each row names its source, year, scope and licence. Namibia's zone is `NA`: text, never a missing value.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# What people write who do not mean the code of ISO 3166.
HABITS = {"uk": "GB", "el": "GR", "usa": "US"}


@dataclass(frozen=True)
class Factor:
    """A zone's average intensity over a year; `g_per_kwh` is decimal text."""

    zone: str
    name: str
    g_per_kwh: str
    year: str
    scope: str
    source: str
    licence: str

    @property
    def text(self) -> str:
        """Return what is shown as the source of an intensity, e.g. `Ember 2023 via Our World in Data, yearly average, lifecycle`."""
        owner = self.source.split(",")[0]
        if owner.startswith("Ember"):
            via = " via Our World in Data" if "via Our World in Data" in self.source else ""
            return f"Ember {self.year}{via}, yearly average, {self.scope}"
        return f"{owner} ({self.year}), yearly average, {self.scope}"


@cache
def factors() -> dict[str, Factor]:
    """Return all shipped factors by zone."""
    text = (files("carbon_acct.client") / "data" / "grid-factors.csv").read_text("utf-8")
    return {row["zone"]: Factor(**row) for row in csv.DictReader(text.splitlines())}


def find(zone: str) -> Factor | None:
    """Return the factor of a zone, its name matched without case; None: no such zone."""
    known = {name.casefold(): name for name in factors()}
    found = known.get(zone.strip().casefold())
    return None if found is None else factors()[found]


def search(pattern: str) -> list[Factor]:
    """Return the zones whose code or name contains `pattern`, without case; all zones for an empty pattern."""
    wanted = pattern.casefold()
    return [f for f in factors().values() if wanted in f.zone.casefold() or wanted in f.name.casefold()]


def nearest(zone: str) -> str:
    """Return what to write instead of an unknown zone: the zones whose code or name is similar."""
    by_text = {text.casefold(): f for f in factors().values() for text in (f.zone, f.name)}
    by_text.update({habit: factors()[zone] for habit, zone in HABITS.items()})
    close = difflib.get_close_matches(zone.strip().casefold(), by_text, 3, 0.5)
    names = ", ".join(dict.fromkeys(f"{by_text[c].zone} ({by_text[c].name})" for c in close))
    return f"{f'did you mean {names}? ' if names else ''}`carbon-mgr zones` lists them all"
