# SPDX-License-Identifier: MIT
"""Keeps intensities in the database and says which one prices a slot."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Intensity
from carbon_acct.grid.factors import Factor
from carbon_acct.pricing import Price


def yearly_price(session: Session, factor: Factor, pue: str, now: int) -> Price:
    """The price by a yearly factor, which is put into the table; one that changed becomes a new revision.

    It holds for any time (`period_start` 0, no end): it is what prices a slot that nothing better covers.
    """
    rows = session.scalars(
        select(Intensity)
        .where(Intensity.zone == factor.zone, Intensity.source == factor.text, Intensity.period_start == 0)
        .order_by(Intensity.revision.desc())
    ).all()
    if rows and rows[0].g_per_kwh == factor.g_per_kwh:
        return Price(pue, rows[0].g_per_kwh, rows[0].id)
    row = Intensity(
        zone=factor.zone,
        period_start=0,
        period_end=None,
        g_per_kwh=factor.g_per_kwh,
        source=factor.text,
        scope=factor.scope,
        estimated=False,
        fetched_at=now,
        revision=rows[0].revision + 1 if rows else 1,
    )
    session.add(row)
    session.flush()
    return Price(pue, row.g_per_kwh, row.id)
