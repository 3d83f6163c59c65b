# SPDX-License-Identifier: MIT
"""What the pages are made from, opened once when carbon-web starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carbon_acct.days import Days
    from carbon_acct.db.engine import Database

    from ..about import Logo
    from .knowledge import Knowledge
    from .links import Links


@dataclass(frozen=True)
class Look:
    """What `[reports]` says of pages beside their figures: the folder of own templates, whom to ask, and a logo."""

    templates: str = ""
    contact: str = ""
    logo: Logo | None = None


@dataclass(frozen=True)
class Place:
    """What the pages are made from: the database, what is known of Slurm, and the site."""

    database: Database
    knowledge: Knowledge
    days: Days
    site: str
    cluster: str
    proxy_uid: int
    user_header: str
    links: Links | None = None
    """None: the site has no links that sign in."""
    look: Look = Look()
