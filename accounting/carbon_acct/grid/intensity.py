# SPDX-License-Identifier: MIT
"""Keeps the factors of a zone in the database, with their provenance."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.models import FactorSource, Intensity
from carbon_acct.grid.factors import Factor

YEARLY = "yearly"


def source_of(session: Session, zone: str, provider: str, text: str, scope: str, purpose: str = "location") -> int:
    """The id of a source, which is put into the table if it is new."""
    wanted = {"zone": zone, "provider": provider, "text": text, "scope": scope, "purpose": purpose}
    row = session.scalar(select(FactorSource).filter_by(**wanted))
    if row is None:
        row = FactorSource(**wanted)
        session.add(row)
        session.flush()
    return row.id


def yearly_source(session: Session, factor: Factor, now: int) -> int:
    """The source of a yearly factor, with the factor in the table; one that changed is a new revision.

    It holds for any time (`period_start` 0, no end): it is what prices a slot that nothing better covers.
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
