# SPDX-License-Identifier: MIT
"""What the accounting needs to know of the site: its zone, its PUE, its cluster, and its database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carbon_acct import rebuild
from carbon_acct.db.engine import Database, open_database
from carbon_acct.prices import Prices, load_prices

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
    prices = load_prices(settings)
    database = open_database(settings)
    with database.write() as session:
        rebuild.where_needed(session, prices, settings.text("site", "timezone"))
    return Site(database, prices, prices.home, settings.text("site", "cluster"))
