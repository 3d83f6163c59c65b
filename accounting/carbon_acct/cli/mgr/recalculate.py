# SPDX-License-Identifier: MIT
"""`carbon-mgr reprice`: price jobs again, after settings changed; what the grid's values change is done by the aggregator."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...client.timespec import parse_time

if TYPE_CHECKING:
    from ...site import Site
    from .. import Parser

DAY_S = 86400


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("reprice", help="price jobs again by the settings as they are now, on the accounting host")
    p.add_argument("--since", required=True, metavar="TIME", help="from when on, as sacct's -S")
    p.add_argument("-n", "--dry-run", action="store_true", help="only say what would change")
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
            print(f"{changed} slots of jobs priced again")
    finally:
        site.database.close()
    return 0


def sweep(site: Site, since: int, until: int, rezone: bool = False) -> int:
    """Price what is in [since, until) again, with a bar; how many slots of jobs changed."""
    from tqdm import tqdm

    from ...sums import recalculate

    with site.database.read() as session:
        stretches = recalculate.stretches(session, since, until)
    for start, end in stretches:
        site.database.run(partial(recalculate.refresh, prices=site.prices, since=start, until=end))
    with site.database.read() as session:
        waiting = recalculate.waiting(session)
    changed = after = 0
    with tqdm(total=waiting, unit=" slots", disable=None) as bar:
        while True:
            done = site.database.run(partial(recalculate.sweep, prices=site.prices))
            changed += done
            bar.update(done)
            if not done:
                break
        while rezone:
            done, after = site.database.run(partial(recalculate.rezone, prices=site.prices, since=since, after=after))
            changed += done
            bar.update(done)
            if not after:
                break
    return changed


def _preview(site: Site, since: int, until: int) -> None:
    """What `refresh` would change, from a transaction that is taken back."""
    from ...client.units import carbon
    from ...sums import recalculate

    with site.database.read() as session:
        found = recalculate.preview(session, site.prices, since, until)
        session.rollback()
    print(f"{found.prices} prices and {found.slots} slots of jobs would change")
    if found.slots:
        print(f"their carbon: {carbon(found.before_ug)} now, {carbon(found.after_ug)} then")
