# SPDX-License-Identifier: MIT
"""`carbon-mgr intensity`: lists or plots the intensity that was applied at each time, with its source; exports and
imports CSV.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carbon_collector import settings
from carbon_collector.errors import UsageError

from ...client.safe_text import visible
from ...client.timespec import parse_time, show_time
from .. import warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...grid.exchange import Line
    from ...site import Site
    from .. import Parser

PLOT_SIZE = (100, 24)


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser(
        "intensity",
        help="show the carbon intensity that was applied at each time, and its source (on the accounting host)",
    )
    p.add_argument("-S", "--starttime", default="now-1days", metavar="TIME", help="from when on (default: a day ago)")
    p.add_argument("-E", "--endtime", default="now", metavar="TIME", help="until when (default: now)")
    p.add_argument("-z", "--zone", default="", help="zone of the grid (default: [site] zone)")
    how = p.add_mutually_exclusive_group()
    how.add_argument("--plot", action="store_true", help="draw a plot in the terminal")
    how.add_argument("--csv", action="store_true", help="print all that the sources have of that time as CSV")
    how.add_argument("--import", dest="file", metavar="FILE", type=Path, help="read such a CSV file, and recalculate")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...grid.factors import factor
    from ...site import open_site

    now = int(time.time())
    start, end = parse_time(options.starttime, now), parse_time(options.endtime, now)
    if end <= start:
        raise UsageError("-E is not after -S")
    site = open_site(settings.load(options.config))
    zone = factor(options.zone, "--zone").zone if options.zone else site.terms.home
    try:
        if options.file:
            return _import(site, options.file, now)
        if options.csv:
            return _csv(site, zone, start, end)
        runs = list(_runs(site, zone, start, end))
        if not runs:
            print(visible(f"no job of zone {zone} ran in that time"), file=sys.stderr)
            return 1
        return _plot(zone, runs, now) if options.plot else _list(runs, now)
    finally:
        site.database.close()


def _runs(site: Site, zone: str, start: int, end: int) -> Iterator[dict[str, Any]]:
    """Yield stretches of slots that have the same intensity, oldest first."""
    from sqlalchemy import select

    from ...db.models import FactorSource
    from ...factors.slot_factor import current

    with site.database.read() as session:
        sources = {row.id: f"{row.text} ({row.scope})" for row in session.scalars(select(FactorSource))}
        rows = [row for (place, _), row in sorted(current(session, start - 899, end - 1).items()) if place == zone]
    run: dict[str, Any] = {}
    for row in rows:
        applied = {
            "g_per_kwh": row.g_per_kwh_float,
            "pue": row.pue,
            "source": sources[row.source_id] + (", estimated" if row.estimated else ""),
        }
        if run and run["end"] == row.slot and all(run[name] == value for name, value in applied.items()):
            run["end"] = row.slot + 900
            continue
        if run:
            yield run
        run = {"start": row.slot, "end": row.slot + 900, **applied}
    if run:
        yield run


def _list(runs: list[dict[str, Any]], now: int) -> int:
    for run in runs:
        times = f"{show_time(run['start'], '', now)}  {show_time(run['end'], '', now)}"
        print(visible(f"{times}  {run['g_per_kwh']:8.2f} g/kWh  PUE {run['pue']}  {run['source']}"))
    return 0


def _plot(zone: str, runs: list[dict[str, Any]], now: int) -> int:
    import plotext

    first = runs[0]["start"]
    points = [(at, run["g_per_kwh"]) for run in runs for at in range(run["start"], run["end"], 900)]
    plotext.plot_size(*PLOT_SIZE)
    plotext.theme("clear")
    plotext.plot([(at - first) / 3600 for at, _ in points], [value for _, value in points], marker="braille")
    plotext.title(f"{zone}: carbon intensity of the slots that jobs used, g/kWh")
    plotext.xlabel(f"hours after {show_time(first, '', now)}")
    plotext.ylim(0, max(value for _, value in points) * 1.05)
    print(plotext.uncolorize(plotext.build()))
    return 0


def _csv(site: Site, zone: str, start: int, end: int) -> int:
    from ...grid.exchange import lines, written

    writer = csv.writer(sys.stdout, lineterminator="\n")
    with site.database.read() as session:
        writer.writerows(written(lines(session, zone, start, end)))
    return 0


def _used(site: Site, line: Line) -> bool:
    return (line.provider, line.source, line.scope) in site.terms.sources.get(line.zone, ())


def _import(site: Site, file: Path, now: int) -> int:
    from ...grid import exchange
    from .recalculate import sweep

    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as err:
        raise UsageError(f"{file}: is not text in UTF-8") from err
    found = exchange.read(str(file), text)
    changed = site.database.run(lambda session: exchange.keep(session, found, now))
    print(f"{len(found)} periods, {len(changed)} of them new or different")
    for zone, source in sorted({(line.zone, line.source) for line in found if not _used(site, line)}):
        warn(
            "carbon-mgr",
            f"{source} is not a source of {zone} in [grid] providers: it is stored and applied to nothing",
        )
    if found:  # though nothing is new: an import that was broken off goes on here
        sweep(site, min(line.period.start for line in found) // 900 * 900, max(line.period.end for line in found))
    return 0
