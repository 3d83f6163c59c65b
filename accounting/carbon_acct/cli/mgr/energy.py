# SPDX-License-Identifier: MIT
"""`carbon-mgr energy`: shows where the site's energy went: to jobs, and beside them to idle and system."""

from __future__ import annotations

import argparse
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

from carbon_collector import settings
from carbon_collector.errors import UsageError

from ...client.safe_text import visible
from ...client.timespec import parse_time
from ...client.units import carbon, energy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...days import Days
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
    site = open_site(settings.load(options.config))
    days = site.terms.days
    since, until = (site_time(text, now, days) for text in (options.starttime, options.endtime))
    if until <= since:
        site.database.close()
        raise UsageError("-E is not after -S")
    start, end = days.start(since), days.after(days.start(until - 1))
    try:
        found = site.database.run(lambda session: site_energy(session, site.terms, start, min(end, now)))
    finally:
        site.database.close()
    if options.json:
        print(json.dumps({part: vars(getattr(found, part)) for part in PARTS}, indent=2))
    else:
        for line in (_window(start, end, days), *_lines(found)):
            print(visible(line))
    return 0


def site_time(text: str, now: int, days: Days) -> int:
    """Return the epoch seconds of a time that a person wrote. A day, or a midnight, is the site's and not this host's.
    Raises UsageError.
    """
    local = datetime.fromtimestamp(parse_time(text, now))  # noqa: DTZ006  as the person wrote it
    if local.time() != datetime.min.time():
        return parse_time(text, now)
    return int(local.replace(tzinfo=days.zone).timestamp())


def _window(start: int, end: int, days: Days) -> str:
    """Return the line that says which days of which time zone are summed."""
    first, last = (datetime.fromtimestamp(at, days.zone).date() for at in (start, end - 1))
    count = (last - first).days + 1
    return f"{first} to {last}, {count} day{'s' if count > 1 else ''} of {days.zone.key}"


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
        if value is None:
            yield ""
        else:
            yield energy(value, "kWh") if name.endswith("_uj") else carbon(value)
