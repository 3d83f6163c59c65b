# SPDX-License-Identifier: MIT
"""The site as its settings state it: the database, the terms by which emissions are calculated, and Slurm's cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carbon_acct.db.engine import Database, url_of
from carbon_acct.factors.slot_factor import SiteTerms, load_terms
from carbon_acct.sums import rebuild
from carbon_collector.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carbon_acct.grid.provider import Provider
    from carbon_collector.settings import Settings

ALSO = {("aggregator", key) for key in ("keep_delivered", "keep_slots", "keep_jobs", "estimate")}
"""The settings of the aggregator's own section that change what is accounted or kept."""


@dataclass(frozen=True)
class Site:
    """A database, and the terms and providers for emissions at this site. `cluster` is empty where Slurm has to say it.

    `settings` are those of the settings that change figures, as `stated` has them.
    """

    database: Database
    terms: SiteTerms
    providers: Mapping[str, tuple[Provider, ...]]
    zone: str
    cluster: str
    settings: Mapping[str, str] = field(default_factory=dict)


def stated(settings: Settings) -> dict[str, str]:
    """Return the settings that change what is accounted or kept, as `[section] key` -> value.

    None of them is secret: files of tokens, and what a contract charges, are left out.
    """
    chosen = [s for s in SETTINGS if s.section in ("site", "grid") or (s.section, s.key) in ALSO]
    names = [(s.section, s.key) for s in chosen if s.kind != "path" and s.key != "price"]
    return {f"[{section}] {key}": settings.text(section, key) for section, key in names}


def site_of(settings: Settings) -> Site:
    """Return the site with a database that opens on first use. Raises ZoneError, SettingsError and DatabaseError."""
    terms, providers = load_terms(settings)
    timezone = settings.text("site", "timezone")
    database = Database(url_of(settings), lambda session: rebuild.where_needed(session, terms, timezone))
    return Site(database, terms, providers, terms.home, settings.text("site", "cluster"), stated(settings))


def open_site(settings: Settings) -> Site:
    """Return the site with its database open. Raises ZoneError, SettingsError and DatabaseError."""
    site = site_of(settings)
    site.database.open()
    return site
