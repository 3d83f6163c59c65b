# SPDX-License-Identifier: MIT
"""`carbon-mgr recalculate`: recalculates emissions after the settings have changed.

The aggregator itself recalculates when a grid's intensities change.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING

from carbon_collector import settings
from carbon_collector.units import DAY_S

from ...client.timespec import parse_time

if TYPE_CHECKING:
    from ...site import Site
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser(
        "recalculate", help="recalculate emissions with the present settings (on the accounting host)"
    )
    p.add_argument(
        "--since", required=True, metavar="TIME", help="the time from which to recalculate, as for sacct's -S"
    )
    p.add_argument("-n", "--dry-run", action="store_true", help="only print what would change")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...site import open_site

    now = int(time.time())
    since = parse_time(options.since, now) // 900 * 900
    site = open_site(settings.load(options.config))
    try:
        if options.dry_run:
            _preview(site, since, now + DAY_S)
        else:
            changed = sweep(site, since, now + DAY_S, rezone=True)
            print(f"{changed} slots of jobs recalculated")
    finally:
        site.database.close()
    return 0


def sweep(site: Site, since: int, until: int, rezone: bool = False) -> int:
    """Recalculate [since, until) with a progress bar, and return how many slots of jobs changed."""
    from tqdm import tqdm

    from ...sums import recalculate

    with site.database.read() as session:
        stretches = recalculate.stretches(session, since, until)
    for start, end in stretches:
        site.database.run(partial(recalculate.refresh, terms=site.terms, since=start, until=end))
    with site.database.read() as session:
        waiting = recalculate.waiting(session)
    changed = after = 0
    with tqdm(total=waiting, unit=" slots", disable=None) as bar:
        while True:
            done = site.database.run(partial(recalculate.sweep, terms=site.terms))
            changed += done
            bar.update(done)
            if not done:
                break
        while rezone:
            done, after = site.database.run(partial(recalculate.rezone, terms=site.terms, since=since, after=after))
            changed += done
            bar.update(done)
            if not after:
                break
    return changed


def _preview(site: Site, since: int, until: int) -> None:
    """Print what a recalculation would change, from a transaction that is rolled back."""
    from ...client.units import carbon
    from ...sums import recalculate

    with site.database.read() as session:
        found = recalculate.preview(session, site.terms, since, until)
        session.rollback()
    print(f"{found.factors} slot factors and {found.slots} slots of jobs would change")
    if found.slots:
        print(f"their carbon: {carbon(found.before_ug)} now, {carbon(found.after_ug)} then")
