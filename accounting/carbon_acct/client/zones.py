# SPDX-License-Identifier: MIT
"""The zones of the grid and the yearly factors that are shipped.

Ember's yearly electricity data (CC BY 4.0, by way of Our World in Data), US EPA eGRID (public domain), Environment and
Climate Change Canada (Open Government Licence - Canada), Australia's National Greenhouse Accounts (CC BY 4.0);
each row names its source, year, scope and licence. A site's own table ([grid] factors) comes before them. Namibia's zone is `NA`: text, never a missing value.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path

from carbon_collector.errors import SettingsError

MOST_G_PER_KWH = 5000
SCOPES = ("lifecycle", "direct")
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


_own: dict[str, Factor] = {}


def use(path: str) -> None:
    """Have the factors of a site's own table, [grid] factors, come before the shipped ones; without a path, none.

    Raises SettingsError, which names the line.
    """
    _own.clear()
    if not path:
        return
    try:
        rows = csv.DictReader(Path(path).read_text("utf-8-sig").splitlines(), strict=True)
        _own.update((row["zone"], _checked(rows.line_num, row)) for row in rows)
    except (OSError, ValueError, KeyError, csv.Error) as err:
        why = f"no column {err}" if isinstance(err, KeyError) else err
        raise SettingsError(f"[grid] factors = {path}: {why}") from err


def _checked(line: int, row: dict[str, str]) -> Factor:
    """Return the factor in a row. Raises ValueError, and KeyError for a missing column."""
    found = Factor(*(row[field.name] for field in fields(Factor)))
    try:
        value = float(found.g_per_kwh)
    except (ValueError, TypeError):
        value = -1.0
    if not 0 <= value <= MOST_G_PER_KWH:
        raise ValueError(f"line {line}: g_per_kwh is {found.g_per_kwh!r}; expected a number from 0 to {MOST_G_PER_KWH}")
    if found.scope not in SCOPES:
        raise ValueError(f"line {line}: scope is {found.scope!r}; expected {' or '.join(SCOPES)}")
    if not found.zone:
        raise ValueError(f"line {line}: no zone")
    return found


@cache
def shipped() -> dict[str, Factor]:
    """Return the shipped factors by zone."""
    text = (files("carbon_acct.client") / "data" / "grid-factors.csv").read_text("utf-8")
    return {row["zone"]: Factor(**row) for row in csv.DictReader(text.splitlines())}


def factors() -> dict[str, Factor]:
    """Return all factors by zone: the shipped ones, and the site's own instead where it has one."""
    return {**shipped(), **_own} if _own else shipped()


def find(zone: str) -> Factor | None:
    """Return the factor of a zone, its name matched without case; None: no such zone."""
    known = {name.casefold(): name for name in factors()}
    found = known.get(zone.strip().casefold())
    return None if found is None else factors()[found]


def search(pattern: str) -> list[Factor]:
    """Return the zones whose code or name contains `pattern`, without case; all zones for an empty pattern."""
    wanted = pattern.casefold()
    return [f for f in factors().values() if wanted in f.zone.casefold() or wanted in f.name.casefold()]


@cache
def _renamed() -> dict[str, dict[str, str]]:
    text = (files("carbon_acct.client") / "data" / "renamed-zones.csv").read_text("utf-8")
    return {row["name"].casefold(): row for row in csv.DictReader(text.splitlines())}


def renamed(zone: str) -> str:
    """Return what became of a zone that a grid or a provider renamed, split or retired, in one line; else an empty
    text.
    """
    row = _renamed().get(zone.strip().casefold().replace("_", "-"))
    if row is None:
        return ""
    new = row["new"].split()
    if not new:
        return f"it was retired in {row['since']}, and no zone replaces it; name the grid that feeds the nodes now"
    if len(new) == 1:
        return f"since {row['since']} it is {new[0]}; write that"
    names = f"{', '.join(new[:-1])} and {new[-1]}"
    return f"in {row['since']} it was split into {names}; write the one that feeds the nodes"


def nearest(zone: str) -> str:
    """Return what to write instead of an unknown zone: what it was renamed to, else the zones whose code or name is
    similar.
    """
    if now := renamed(zone):
        return now
    by_text = {text.casefold(): f for f in factors().values() for text in (f.zone, f.name)}
    by_text.update({habit: factors()[zone] for habit, zone in HABITS.items()})
    wanted = zone.strip().casefold()
    close = [wanted] if wanted in by_text else difflib.get_close_matches(wanted, by_text, 3, 0.5)
    names = ", ".join(dict.fromkeys(f"{by_text[c].zone} ({by_text[c].name})" for c in close))
    return f"{f'did you mean {names}? ' if names else ''}`carbon-mgr zones` lists them all"
