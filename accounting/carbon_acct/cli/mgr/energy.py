# SPDX-License-Identifier: MIT
"""`carbon-mgr energy`: shows where the site's energy went: to jobs, and beside them to idle and system."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from carbon_collector import settings
from carbon_collector.errors import UsageError

from ...client.safe_text import visible
from ...client.timespec import parse_time
from ...client.units import carbon, energy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...queries.site_energy import SiteEnergy
    from .. import Parser

HEAD = ("", "energy", "facility", "carbon", "market", "upstream", "T&D", "embodied")
PARTS = ("jobs", "idle", "system", "all")


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser(
        "energy", help="show the site's energy and emissions: jobs, idle and system (on the accounting host)"
    )
    p.add_argument("-S", "--starttime", default="today", metavar="TIME", help="the day to begin with (default: today)")
    p.add_argument("-E", "--endtime", default="now", metavar="TIME", help="the day to end with (default: today)")
    p.add_argument("--json", action="store_true", help="in microjoules and micrograms")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...queries.site_energy import site_energy
    from ...site import open_site

    now = int(time.time())
    since, until = parse_time(options.starttime, now), parse_time(options.endtime, now)
    if until <= since:
        raise UsageError("-E is not after -S")
    site = open_site(settings.load(options.config))
    days = site.terms.days
    start, end = days.start(since), days.after(days.start(until - 1))
    try:
        found = site.database.run(lambda session: site_energy(session, site.terms, start, min(end, now)))
    finally:
        site.database.close()
    if options.json:
        print(json.dumps({part: vars(getattr(found, part)) for part in PARTS}, indent=2))
    else:
        for line in _lines(found):
            print(visible(line))
    return 0


def _lines(found: SiteEnergy) -> Iterator[str]:
    """Yield the lines of a table. A figure that is not known, or not stated by the site, is empty."""
    rows = [HEAD, *((part, *_cells(found, part)) for part in PARTS)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells]).rstrip()
    yield ""
    yield "Idle and system are the site's: no job's figure holds any of them. The columns are apart, none holds another."


def _cells(found: SiteEnergy, part: str) -> Iterator[str]:
    for name, value in vars(getattr(found, part)).items():
        show = energy if name.endswith("_uj") else carbon
        yield "" if value is None else show(value)
