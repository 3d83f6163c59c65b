# SPDX-License-Identifier: MIT
"""Answers what a kilowatt-hour emitted, slot by slot, and what it is expected to: for jobs that run and jobs to come.

It reads what the accounting would apply, and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.models import FactorSource
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.grid import forecast
from carbon_acct.grid.factors import factor
from carbon_acct.grid.intensity import LOCATION, periods
from carbon_acct.grid.series import means
from carbon_collector.units import SLOT_S


@dataclass
class IntensityRecord:
    """The intensity from `start` to before `end`. `estimated`: the provider calls it an estimate, or it is a forecast."""

    start: int
    end: int
    value: float
    source: str
    scope: str
    estimated: bool


@dataclass(frozen=True)
class Intensities:
    """A zone's slots that have begun, and the forecast of what no source has told of yet."""

    zone: str
    slots: list[IntensityRecord]
    forecast: list[IntensityRecord]
    forecast_at: int | None
    """When the forecast was fetched; None where there is none."""
    pue: float | None
    """The site's PUE now."""


def intensities(session: Session, terms: SiteTerms, zone: str, start: int, end: int, now: int) -> Intensities:
    """Return the intensities of [start, end). A slot that neither a source nor the forecast covers has the yearly factor."""
    sources = _sources(session, terms, zone)
    first = start - start % SLOT_S
    begun = list(range(first, min(end, now + 1), SLOT_S))
    ids = list(sources)
    told = means(begun, periods(session, ids, first, begun[-1] + SLOT_S)) if ids and begun else {}
    since = max((slot for slot in told), default=first - SLOT_S) + SLOT_S
    expected = forecast.newest(session, ids, since, end) if ids else []
    yearly = factor(zone)
    records = []
    for slot in begun:
        if mean := told.get(slot):
            source = sources[mean.source]
            value = float(Fraction(mean.g_per_kwh))
            records.append(IntensityRecord(slot, slot + SLOT_S, value, source.text, source.scope, mean.estimated))
        elif not any(row.period_start <= slot < row.period_end for row in expected):
            value = float(yearly.g_per_kwh)
            records.append(IntensityRecord(slot, slot + SLOT_S, value, yearly.text, yearly.scope, False))
    pue = terms.pue.at(now)
    return Intensities(
        zone=zone,
        slots=records,
        forecast=[
            IntensityRecord(
                row.period_start,
                row.period_end,
                float(row.g_per_kwh),
                sources[row.source_id].text,
                sources[row.source_id].scope,
                True,
            )
            for row in expected
        ],
        forecast_at=min((row.fetched_at for row in expected), default=None),
        pue=None if pue is None else float(Fraction(pue)),
    )


def _sources(session: Session, terms: SiteTerms, zone: str) -> dict[int, FactorSource]:
    """Return the zone's sources by id, in the site's order, leaving out those that never delivered a value."""
    query = select(FactorSource).where(FactorSource.zone == zone, FactorSource.purpose == LOCATION)
    known = {(row.provider, row.text, row.scope): row for row in session.scalars(query)}
    return {known[source].id: known[source] for source in terms.sources.get(zone, ()) if source in known}
