# SPDX-License-Identifier: MIT
"""Keeps the newest forecast of each source of intensities, apart from the factors: it never accounts for a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Forecast
from carbon_acct.grid.provider import Period

AHEAD_S = 3 * 86_400
"""How far ahead a forecast is asked for."""


def replace(session: Session, source: int, periods: Iterable[Period], now: int) -> None:
    """Store what a source expects, in place of what it expected before."""
    session.execute(delete(Forecast).where(Forecast.source_id == source))
    session.add_all(
        Forecast(source_id=source, period_start=p.start, period_end=p.end, g_per_kwh=p.g_per_kwh, fetched_at=now)
        for p in periods
    )
    session.flush()


def newest(session: Session, sources: Sequence[int], start: int, end: int) -> list[Forecast]:
    """Return what is expected of [start, end), by the first of the sources that expects anything of it; by time."""
    query = select(Forecast).where(
        Forecast.source_id.in_(sources), Forecast.period_end > start, Forecast.period_start < end
    )
    found: dict[int, list[Forecast]] = {}
    for row in session.scalars(query.order_by(Forecast.period_start)):
        found.setdefault(row.source_id, []).append(row)
    return next((found[source] for source in sources if source in found), [])
