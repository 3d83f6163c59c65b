# SPDX-License-Identifier: MIT
"""What the accounting needs to know of the site: its zone, its PUE, its cluster, and its database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carbon_acct.db.engine import Database, open_database
from carbon_acct.grid.factors import factor
from carbon_acct.grid.intensity import yearly_price
from carbon_acct.pricing import Price

if TYPE_CHECKING:
    from carbon_collector.settings import Settings


@dataclass(frozen=True)
class Site:
    """An open database and the price of energy at this site. `cluster` is empty where Slurm has to say it."""

    database: Database
    price: Price
    zone: str
    cluster: str


def open_site(settings: Settings) -> Site:
    """Open the site's database and find its price. Raises ZoneError and DatabaseError."""
    found = factor(settings.text("site", "zone"))
    database = open_database(settings)
    with database.write() as session:
        price = yearly_price(session, found, settings.text("site", "pue"), int(time.time()))
    return Site(database, price, found.zone, settings.text("site", "cluster"))
