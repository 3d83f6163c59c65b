# SPDX-License-Identifier: MIT
"""`carbon-mgr prune`: deletes what is older than the site keeps it."""

from __future__ import annotations

import argparse
import math
import time
from typing import TYPE_CHECKING

from carbon_collector import settings
from carbon_collector.errors import SettingsError

from ...client.safe_text import visible

if TYPE_CHECKING:
    from carbon_collector.settings import Settings

    from ...days import Days
    from ...db.retention import Horizons
    from .. import Parser

KINDS = ("keep_delivered", "keep_slots", "keep_jobs")


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser(
        "prune", help="delete what is older than [aggregator] keep_... allows (on the accounting host)"
    )
    p.add_argument("-n", "--dry-run", action="store_true", help="only print how much that is")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from tqdm import tqdm

    from ...db.retention import counts, prune
    from ...site import open_site

    config = settings.load(options.config)
    site = open_site(config)
    try:
        horizons = _horizons(config, site.terms.days, int(time.time()))
        with site.database.read() as session:
            found = counts(session, horizons)
        for name, rows in vars(found).items():
            print(visible(f"{name.replace('_', ' ')}: {rows}"))
        if not options.dry_run:
            with tqdm(total=sum(vars(found).values()), unit=" rows", disable=None) as bar:
                prune(site.database, horizons, bar.update)
    finally:
        site.database.close()
    return 0


def _horizons(config: Settings, days: Days, now: int) -> Horizons:
    from ...db.retention import Horizons

    kept = [config.number("aggregator", name) for name in KINDS]
    if kept != sorted(kept):
        raise SettingsError(f"[aggregator] {', '.join(KINDS)}: each is kept at least as long as the one before")
    return Horizons(*(0 if math.isinf(seconds) else days.start(max(0, now - int(seconds))) for seconds in kept))
