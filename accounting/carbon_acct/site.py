# SPDX-License-Identifier: MIT
"""What the accounting needs to know of the site: its zone, its PUE, its cluster, and its database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carbon_acct import rebuild
from carbon_acct.days import Days, zone_info
from carbon_acct.db.engine import Database, open_database
from carbon_acct.grid.factors import factor
from carbon_acct.prices import Prices

if TYPE_CHECKING:
    from carbon_collector.settings import Settings


@dataclass(frozen=True)
class Site:
    """An open database and what energy costs at this site. `cluster` is empty where Slurm has to say it."""

    database: Database
    prices: Prices
    zone: str
    cluster: str


def open_site(settings: Settings) -> Site:
    """Open the site's database. Raises ZoneError, SettingsError and DatabaseError."""
    found = factor(settings.text("site", "zone"))
    timezone = settings.text("site", "timezone")
    prices = Prices(found, settings.text("site", "pue"), Days(zone_info(timezone)))
    database = open_database(settings)
    with database.write() as session:
        rebuild.where_needed(session, prices, timezone)
    return Site(database, prices, found.zone, settings.text("site", "cluster"))
