# SPDX-License-Identifier: MIT
"""`carbon-estimate --hardware` and `--regions`: the tables that estimates rest on."""

from __future__ import annotations

import csv
import json
import sys

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from ...client.estimate import options
from .tables import accelerators

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def run(given: Mapping[str, str], rest: Sequence[str]) -> int:
    """Print a table, or those rows of it that have these words in them. Raises UsageError where none has."""
    given = dict(given)
    patterns: list[str] = []
    while rest:  # options may stand behind the words here: there is no script
        line = options.command_line(list(rest[1:]))
        given, patterns, rest = {**given, **line.options}, [*patterns, rest[0]], line.rest
    rows = _hardware() if "hardware" in given else _regions()
    wanted = " ".join(patterns).casefold()
    rows = [row for row in rows if wanted in " ".join(row.values()).casefold()]
    if not rows:
        raise UsageError(f"nothing in the table has {' '.join(patterns)!r} in it")
    if "json" in given:
        print(json.dumps(rows, indent=2))
    elif "csv" in given:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        _table(rows, ("source", "note", "aliases", "fp16_tflops", "verified"))
    return 0


def _hardware() -> list[dict[str, str]]:
    return [
        {
            "name": one.name,
            "watts": "" if one.watts is None else f"{one.watts:g}",
            "devices": str(one.devices),
            "kind": one.kind,
            "full_name": one.full_name,
            "memory_gb": one.memory_gb,
            "fp16_tflops": one.fp16_tflops,
            "year": one.year,
            "document": one.document,
            "verified": "yes" if one.verified else "no",
            "aliases": ";".join(one.aliases),
            "source": one.source,
            "note": one.note,
        }
        for one in accelerators()
    ]


def _regions() -> list[dict[str, str]]:
    from ...client.estimate.where import of_region
    from ...client.regions import regions

    found = []
    for one in regions().values():
        place = of_region(one.name)
        found.append(
            {
                "region": one.name,
                "place": one.place,
                "zone": one.zone,
                "g_per_kwh": f"{float(place.g_per_kwh):.10g}",
                "scope": place.scope,
                "pue": one.pue,
                "pue_year": one.pue_year,
                "verified": one.verified,
                "source": one.source,
                "note": one.note,
            }
        )
    return found


def _table(rows: Sequence[Mapping[str, str]], hidden: Sequence[str]) -> None:
    columns = [name for name in rows[0] if name not in hidden]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in columns}
    for row in ({name: name for name in columns}, *rows):
        print("  ".join(f"{row[name]:<{widths[name]}}" for name in columns).rstrip())
