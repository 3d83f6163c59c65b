# SPDX-License-Identifier: MIT
"""Stores the intensities of a zone in the database with their provenance: sources, and their periods by revision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.client.zones import Factor
from carbon_acct.db.models import FactorSource, Intensity
from carbon_acct.grid.provider import Period
from carbon_acct.grid.series import Known

YEARLY = "yearly"
LOCATION, MARKET = "location", "market"


def source_of(session: Session, zone: str, provider: str, text: str, scope: str, purpose: str = LOCATION) -> int:
    """Return the id of a source. A new source gets a row."""
    wanted = {"zone": zone, "provider": provider, "text": text, "scope": scope, "purpose": purpose}
    row = session.scalar(select(FactorSource).filter_by(**wanted))
    if row is None:
        row = FactorSource(**wanted)
        session.add(row)
        session.flush()
    return row.id


def yearly_source(session: Session, factor: Factor, now: int) -> int:
    """Return the source of a yearly factor, and store the factor. A factor that changed is a new revision.

    It holds for any time (`period_start` 0, no end), and is applied to a slot that nothing better covers.
    """
    source = source_of(session, factor.zone, YEARLY, factor.text, factor.scope)
    newest = session.scalar(
        select(Intensity).where(Intensity.source_id == source).order_by(Intensity.revision.desc()).limit(1)
    )
    if newest is None or newest.g_per_kwh != factor.g_per_kwh:
        session.add(
            Intensity(
                source_id=source,
                period_start=0,
                period_end=None,
                g_per_kwh=factor.g_per_kwh,
                estimated=False,
                fetched_at=now,
                updated_at=None,
                revision=newest.revision + 1 if newest else 1,
            )
        )
        session.flush()
    return source


def periods(session: Session, sources: Sequence[int], start: int, end: int) -> list[tuple[int, list[Known]]]:
    """Return the periods of the sources in [start, end), in the order of the sources. Every revision is there; the
    newest has the highest order.
    """
    query = select(Intensity).where(
        Intensity.source_id.in_(sources), Intensity.period_start < end, Intensity.period_end > start
    )
    found: dict[int, list[Known]] = {source: [] for source in sources}
    for row in session.scalars(query):
        if row.period_end is not None:
            found[row.source_id].append(Known(row.period_start, row.period_end, row.g_per_kwh, row.estimated, row.id))
    return list(found.items())


def said(session: Session, zone: str, provider: str, text: str, scope: str, start: int, end: int) -> dict[int, str]:
    """Return what a source said last of each period that begins in [start, end), by its beginning. An unknown source
    said nothing.
    """
    query = (
        select(Intensity)
        .join(FactorSource, FactorSource.id == Intensity.source_id)
        .filter(
            FactorSource.zone == zone,
            FactorSource.provider == provider,
            FactorSource.text == text,
            FactorSource.scope == scope,
            FactorSource.purpose == LOCATION,
            Intensity.period_start >= start,
            Intensity.period_start < end,
            Intensity.period_end.is_not(None),
        )
    )
    return {row.period_start: row.g_per_kwh for row in session.scalars(query.order_by(Intensity.revision))}


def keep(session: Session, source: int, fetched: Iterable[Period], now: int) -> list[Period]:
    """Store what a source says, and return the periods that are new or different. What it said before stays as an
    earlier revision.
    """
    known = sorted(fetched, key=lambda period: period.start)
    if not known:
        return []
    query = select(Intensity).where(
        Intensity.source_id == source, Intensity.period_start.between(known[0].start, known[-1].start)
    )
    newest = {row.period_start: row for row in session.scalars(query.order_by(Intensity.revision))}
    changed = []
    for period in known:
        row = newest.get(period.start)
        if row and (row.period_end, row.g_per_kwh, row.estimated) == (period.end, period.g_per_kwh, period.estimated):
            continue
        session.add(
            Intensity(
                source_id=source,
                period_start=period.start,
                period_end=period.end,
                g_per_kwh=period.g_per_kwh,
                estimated=period.estimated,
                fetched_at=now,
                updated_at=period.updated_at,
                revision=row.revision + 1 if row else 1,
            )
        )
        changed.append(period)
    session.flush()
    return changed
