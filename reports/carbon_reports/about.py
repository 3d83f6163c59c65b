# SPDX-License-Identifier: MIT
"""States what every page of a report says about itself: site, period, time, sources, factors, whom to ask."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from carbon_collector import __version__
from carbon_collector.errors import SettingsError

from .money import prices

if TYPE_CHECKING:
    from carbon_collector.settings import Settings

    from .facts import Facts
    from .period import Period

MOST_LOGO = 100_000
KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}


class Logo(NamedTuple):
    """The site's logo: its media type and the bytes of its file."""

    kind: str
    content: bytes

    @property
    def address(self) -> str:
        """Return the logo as an address that needs no request."""
        return f"data:{self.kind};base64,{base64.b64encode(self.content).decode('ascii')}"


def about(settings: Settings, period: Period, facts: Facts, now: int) -> dict[str, Any]:
    """Return what every page and file says about the report. Raises SettingsError."""
    return {
        "site": site_name(settings, facts),
        "month": period.name,
        "title": period.title,
        "start": period.moment(period.start),
        "end": period.moment(period.end),
        "timezone": str(period.zone),
        "written": period.moment(now),
        "complete": period.end <= now,
        "clusters": facts.clusters,
        "zones": facts.zones or [settings.text("site", "zone")],
        "pue": facts.pue or [settings.text("site", "pue")],
        "sources": facts.sources,
        "market_source": settings.text("grid", "market_source") if settings.text("grid", "market") else "",
        "spread": settings.text("reports", "spread") == "energy",
        "currency": prices(settings).currency,
        "contact": settings.text("reports", "contact"),
        "names": settings.text("reports", "names"),
        "version": __version__,
    }


def site_name(settings: Settings, facts: Facts) -> str:
    """Return the name of the site, as reports print it."""
    named = settings.text("site", "name") or settings.text("site", "cluster")
    return named or ", ".join(facts.clusters) or "this site"


def logo(settings: Settings) -> Logo | None:
    """Return the site's logo, or None where it has none. Raises SettingsError."""
    name = settings.text("reports", "logo")
    if not name:
        return None
    path = Path(name)
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise SettingsError(f"[reports] logo = {name}: no picture of a known kind; one of {', '.join(KINDS)}")
    try:
        content = path.read_bytes()
    except OSError as err:
        raise SettingsError(f"[reports] logo = {name}: cannot be read: {err.strerror}") from err
    if len(content) > MOST_LOGO:
        raise SettingsError(f"[reports] logo = {name}: {len(content)} bytes; a page takes at most {MOST_LOGO}")
    return Logo(kind, content)


def target_kg(settings: Settings) -> float | None:
    """Return the site's target for a month in kg CO2e, or None. Raises SettingsError."""
    text = settings.text("reports", "target")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e12:
        raise SettingsError(f"[reports] target = {text}: no number of kg above 0")
    return value
