# SPDX-License-Identifier: MIT
"""Exports intensities from the database as CSV and imports them. An export that is imported gives the same rows."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.models import FactorSource, Intensity
from carbon_acct.errors import ProviderError
from carbon_acct.grid import intensity
from carbon_acct.grid.factors import factor
from carbon_acct.grid.provider import DIRECT, LIFECYCLE, Period

COLUMNS = ("zone", "start", "end", "g_per_kwh", "provider", "source", "scope", "estimated")
MOST = Decimal(5000)


@dataclass(frozen=True)
class Line:
    """A period of a zone's source."""

    zone: str
    provider: str
    source: str
    scope: str
    period: Period


def lines(session: Session, zone: str, start: int, end: int) -> Iterator[Line]:
    """Yield the newest revision of each period in [start, end), by source and time."""
    query = select(Intensity, FactorSource).join(FactorSource, FactorSource.id == Intensity.source_id)
    query = query.where(FactorSource.zone == zone, FactorSource.purpose == intensity.LOCATION)
    query = query.where(Intensity.period_start < end, Intensity.period_end > start)
    newest: dict[tuple[int, int], tuple[Intensity, FactorSource]] = {}
    for row, source in session.execute(query.order_by(Intensity.source_id, Intensity.period_start, Intensity.revision)):
        newest[row.source_id, row.period_start] = (row, source)
    for row, source in newest.values():
        period = Period(row.period_start, row.period_end or 0, row.g_per_kwh, row.estimated, row.updated_at)
        yield Line(zone, source.provider, source.text, source.scope, period)


def written(found: Iterable[Line]) -> Iterator[list[str]]:
    """Yield the rows of the CSV file, its header first. Times are UTC."""
    yield list(COLUMNS)
    for line in found:
        p = line.period
        times = [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for at in (p.start, p.end)]
        yield [line.zone, *times, p.g_per_kwh, line.provider, line.source, line.scope, str(int(p.estimated))]


def read(name: str, text: str) -> list[Line]:
    """Return the lines of a CSV file with these columns. Raises ProviderError that names the line; then nothing is
    taken.
    """
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
    if missing:
        raise ProviderError(f"{name}:1: no column {missing[0]!r}; there are to be {','.join(COLUMNS)}")
    found: list[Line] = []
    seen: dict[tuple[str, str, str, int], int] = {}
    for row in reader:
        line = _line(f"{name}:{reader.line_num}", {key: (row[key] or "").strip() for key in COLUMNS})
        key = (line.zone, line.provider, line.source, line.period.start)
        if key in seen:
            raise ProviderError(f"{name}:{reader.line_num}: the period is on line {seen[key]} already")
        seen[key] = reader.line_num
        found.append(line)
    return found


def _line(place: str, row: dict[str, str]) -> Line:
    start, end = _time(place, row["start"]), _time(place, row["end"])
    if end <= start:
        raise ProviderError(f"{place}: it ends before it starts")
    if row["scope"] not in (LIFECYCLE, DIRECT):
        raise ProviderError(f"{place}: scope is {LIFECYCLE} or {DIRECT}, not {row['scope']!r}")
    if row["estimated"] not in ("0", "1"):
        raise ProviderError(f"{place}: estimated is 0 or 1, not {row['estimated']!r}")
    if not row["provider"].isidentifier() or len(row["provider"]) > 32 or not row["source"].isprintable():
        raise ProviderError(f"{place}: provider or source is not a name")
    period = Period(start, end, _value(place, row["g_per_kwh"]), row["estimated"] == "1")
    return Line(factor(row["zone"], place).zone, row["provider"], row["source"][:255], row["scope"], period)


def _time(place: str, text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ProviderError(f"{place}: {text!r} is no time; it looks like 2026-07-14T12:00:00Z") from None
    if found.tzinfo is None:
        raise ProviderError(f"{place}: {text!r} names no time zone; write 2026-07-14T12:00:00Z")
    return int(found.timestamp())


def _value(place: str, text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value <= MOST:
        raise ProviderError(f"{place}: g_per_kwh = {text!r} is not a number from 0 to {MOST}")
    return text


def keep(session: Session, found: Iterable[Line], now: int) -> list[Period]:
    """Store the lines of an imported file, and return the periods that are new or different."""
    by_source: dict[tuple[str, str, str, str], list[Period]] = defaultdict(list)
    for line in found:
        by_source[line.zone, line.provider, line.source, line.scope].append(line.period)
    changed: list[Period] = []
    for source, periods in by_source.items():
        changed += intensity.keep(session, intensity.source_of(session, *source), periods, now)
    return changed
