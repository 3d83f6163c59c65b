# SPDX-License-Identifier: MIT
"""What the accounting needs to know of the site: its zone, its PUE, its cluster, and its database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carbon_acct import rebuild
from carbon_acct.db.engine import Database, open_database
from carbon_acct.prices import Prices, load_prices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carbon_acct.grid.provider import Provider
    from carbon_collector.settings import Settings


@dataclass(frozen=True)
class Site:
    """An open database and what energy costs at this site. `cluster` is empty where Slurm has to say it."""

    database: Database
    prices: Prices
    providers: Mapping[str, tuple[Provider, ...]]
    zone: str
    cluster: str


def open_site(settings: Settings) -> Site:
    """Open the site's database. Raises ZoneError, SettingsError and DatabaseError."""
    prices, providers = load_prices(settings)
    database = open_database(settings)
    with database.write() as session:
        rebuild.where_needed(session, prices, settings.text("site", "timezone"))
    return Site(database, prices, providers, prices.home, settings.text("site", "cluster"))
