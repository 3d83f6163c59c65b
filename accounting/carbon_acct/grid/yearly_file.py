# SPDX-License-Identifier: MIT
"""Reads the yearly CSV files of Electricity Maps' data portal into rows of the site's own table of factors.

The files are under the Open Database License (ODbL 1.0): a user downloads them, and nothing of them is shipped or
merged into the shipped table. Hourly files are no yearly factors; the provider `csv` has a series.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path

from carbon_acct.client.zones import Factor
from carbon_acct.errors import ProviderError
from carbon_acct.grid.check import amount, plain
from carbon_acct.grid.provider import DIRECT, LIFECYCLE

COLUMNS = {
    "time": ("datetime (utc)",),
    "country": ("country",),
    "name": ("zone name",),
    "zone": ("zone id",),
    DIRECT: ("carbon intensity gco₂eq/kwh (direct)",),
    LIFECYCLE: (
        "carbon intensity gco₂eq/kwh (life cycle)",
        "carbon intensity gco₂eq/kwh (lca)",
        "carbon intensity gco₂eq/kwh (life cycle assessment)",
    ),
    "estimated": ("data estimated",),
}
"""The columns that are read, without case, by what they hold. The portal has changed their spelling over the years."""
LICENCE = "ODbL 1.0"


def factors(paths: Iterable[Path], scope: str) -> list[Factor]:
    """Return the factor of each zone in the files, in the scope that is asked for, of its newest year.

    Raises ProviderError, which names file and line.
    """
    found: dict[tuple[str, str], Factor] = {}
    for path in paths:
        for who, row in _rows(path):
            one = _factor(who, row, scope)
            if (one.zone, one.year) in found:
                raise ProviderError(
                    f"{who}: a second row of {one.zone} for {one.year}; download the file of yearly granularity"
                )
            found[one.zone, one.year] = one
    newest = {one.zone: one for _, one in sorted(found.items(), key=lambda item: item[0][1])}
    return [newest[zone] for zone in sorted(newest)]


def _rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Return the rows by what their columns hold, each with its place in the file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            names = {(name or "").strip().casefold(): name for name in rows.fieldnames or ()}
            columns = {key: _column(path, names, known) for key, known in COLUMNS.items()}
            return [
                (f"{path}, line {rows.line_num}", {key: (row[column] or "").strip() for key, column in columns.items()})
                for row in rows
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        why = e.strerror if isinstance(e, OSError) else str(e)
        raise ProviderError(f"{path} cannot be read: {why}") from e


def _column(path: Path, names: Mapping[str, str], known: Iterable[str]) -> str:
    for one in known:
        if one in names:
            return names[one]
    wanted = next(iter(known))
    raise ProviderError(f"{path}, line 1: no column {wanted!r}; is it a CSV file of Electricity Maps' data portal?")


def _factor(who: str, row: Mapping[str, str], scope: str) -> Factor:
    year = row["time"][:4]
    if not (year.isdigit() and row["time"][4:10] == "-01-01"):
        raise ProviderError(f"{who}: a year begins at {row['time']!r}; expected e.g. 2025-01-01 00:00:00")
    if not row["zone"]:
        raise ProviderError(f"{who}: no zone id")
    try:
        value = amount(who, "carbon intensity", scope, Decimal(row[scope]))
    except InvalidOperation as e:
        raise ProviderError(f"{who}: the {scope} carbon intensity is {row[scope][:40]!r}; expected a number") from e
    name = row["name"] if row["country"] in ("", row["name"]) else f"{row['name']}, {row['country']}"
    partly = ", estimated in part" if row["estimated"].casefold() in ("true", "1", "yes") else ""
    return Factor(row["zone"], name, plain(value), year, scope, f"Electricity Maps, yearly file{partly}", LICENCE)
