# SPDX-License-Identifier: MIT
"""A site's own series: `csv:/path/file.csv`, with columns `start`, `g_per_kwh` and optionally `end` and `estimated`.

The file is used whole or not at all. A bad line is named by its number, and no other line is used. The file is read
each time it is asked for, so that a new one needs no restart.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from carbon_acct.errors import ProviderError
from carbon_acct.grid.answer import plausible
from carbon_acct.grid.check import Sample, amount, checked
from carbon_acct.grid.provider import FOREVER, LIFECYCLE, Access, Period

SLUG = "csv"
NEEDED = ("start", "g_per_kwh")
OPTIONAL = ("end", "estimated")
TRUTH = {"": False, "0": False, "no": False, "false": False, "1": True, "yes": True, "true": True}
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Line:
    """A line of the file, numbered as an editor does."""

    number: int
    start: int
    end: int | None
    value: Decimal
    estimated: bool


@dataclass(frozen=True)
class CsvFile:
    """The series in a file."""

    path: Path
    scope: str
    slug: str = SLUG
    step_s: int = 900
    max_range_s: int = FOREVER

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"file {self.path.name}, {self.scope}"

    def history(self, start: int, end: int) -> list[Period]:
        """Return what the file has of the range, after checking all of it. Raises ProviderError."""
        try:
            samples = list(self._samples(sorted(self._lines(), key=lambda line: line.start)))
            return checked(str(self.path), "g_per_kwh", self.scope, samples, start, end)
        except ProviderError as e:
            # Whatever it is, it stays until a person mends the file.
            raise ProviderError(str(e), kind=e.kind, permanent=True) from e

    def forecast(self, start: int, end: int) -> list[Period]:
        """Return what the file has of the future, as an estimate. Raises ProviderError."""
        return [Period(p.start, p.end, p.g_per_kwh, True, p.updated_at) for p in self.history(start, end)]

    def _lines(self) -> Iterator[Line]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as f:
                if self.path.stat().st_size > MAX_BYTES:
                    raise ProviderError(f"{self.path} is larger than {MAX_BYTES >> 20} MiB")
                rows = csv.DictReader(f, strict=True)
                self._check_header(rows.fieldnames or ())
                first = next(rows, None)
                if first is None:
                    raise ProviderError(f"{self.path}: there is no line below the header")
                yield self._line(rows.line_num, first)
                for row in rows:
                    yield self._line(rows.line_num, row)
        except (OSError, UnicodeDecodeError, csv.Error) as e:
            why = e.strerror if isinstance(e, OSError) else str(e)
            raise ProviderError(f"{self.path} cannot be read: {why}", kind="file_unreadable") from e

    def _check_header(self, names: object) -> None:
        given = list(names) if isinstance(names, list | tuple) else []
        if set(NEEDED) - set(given) or set(given) - {*NEEDED, *OPTIONAL} or len(set(given)) < len(given):
            raise ProviderError(
                f"{self.path}, line 1: the columns are {','.join(given)[:100]!r};"
                " expected start,g_per_kwh and, if wanted, end and estimated",
            )

    def _line(self, number: int, row: dict[str, str | None]) -> Line:
        who = f"{self.path}, line {number}"
        if None in row or any(row.get(name) is None for name in row):
            raise ProviderError(f"{who}: not as many fields as there are columns")
        start, value = self._time(who, "start", row["start"] or ""), self._value(who, row["g_per_kwh"] or "")
        end = self._time(who, "end", row["end"]) if row.get("end") else None
        if end is not None and end <= start:
            raise ProviderError(f"{who}: end is not after start")
        estimated = TRUTH.get((row.get("estimated") or "").strip().casefold())
        if estimated is None:
            raise ProviderError(f"{who}: estimated is {row['estimated']!r}; expected yes or no")
        return Line(number, start, end, value, estimated)

    def _time(self, who: str, name: str, text: str | None) -> int:
        try:
            at = datetime.fromisoformat((text or "").strip())
        except ValueError as e:
            raise ProviderError(f"{who}: {name} is {text!r}; expected e.g. 2026-01-31T13:00Z") from e
        if at.tzinfo is None:
            raise ProviderError(f"{who}: {name} is {text!r}, without time zone; add Z or e.g. +01:00")
        return plausible(who, name, at)

    def _value(self, who: str, text: str) -> Decimal:
        try:
            return amount(who, "g_per_kwh", "this line", Decimal(text.strip()))
        except InvalidOperation as e:
            raise ProviderError(f"{who}: g_per_kwh is {text[:40]!r}; expected a number") from e

    def _samples(self, lines: list[Line]) -> Iterator[Sample]:
        """Yield the lines as samples. A line without end holds until the next begins; the last one as long as the one
        before it.
        """
        length = 0
        for line, following in zip(lines, [*lines[1:], None], strict=True):
            end = line.end or (following.start if following else line.start + length)
            who = f"{self.path}, line {line.number}"
            if end <= line.start:
                raise ProviderError(f"{who}: no end can be told; add a column end, or another line")
            if following and end > following.start:
                raise ProviderError(f"{who}: it overlaps line {following.number}")
            length = end - line.start
            yield Sample(line.start, end, line.value, line.estimated)


def csvfile(access: Access) -> CsvFile:
    """Return the provider of `csv:/path/file.csv`. Raises ProviderError."""
    path = Path(access.argument)
    if not path.is_absolute():
        raise ProviderError(f"csv:{access.argument}: the path must be absolute", permanent=True)
    return CsvFile(path, access.scope or LIFECYCLE)
