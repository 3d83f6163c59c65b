# SPDX-License-Identifier: MIT
"""A figure that changes with time, as the site states it: a number, numbers with dates, or a CSV file of them. Pure.

1.3                          at any time
1.35 2026-01-01:1.30         1.35 until then
/etc/carbon-acct/pue.csv     lines of start,value; a header and comments are skipped
"""

from __future__ import annotations

import bisect
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from zoneinfo import ZoneInfo

from carbon_collector.errors import SettingsError

ALWAYS = -(2**62)


@dataclass(frozen=True)
class Dated:
    """Exact decimal texts, each in force from its time on. An empty one means that the site states none."""

    starts: tuple[int, ...] = ()
    values: tuple[str, ...] = ()

    def at(self, epoch: int) -> str | None:
        """Return the value in force at a time, or None before the first one."""
        place = bisect.bisect_right(self.starts, epoch)
        return self.values[place - 1] if place else None


def dated(name: str, text: str, zone: ZoneInfo, least: str = "0", most: str = "1e6") -> Dated:
    """Return the value of a setting. Dates begin at midnight in `zone`. Raises SettingsError that names the setting and
    the place.
    """
    words = text.split()
    entries = _lines(name, Path(text)) if text.startswith("/") else ((name, *_word(word)) for word in words)
    values: dict[int, str] = {}
    for place, day, value in entries:
        start = ALWAYS if not day else _midnight(place, day, zone)
        if start in values:
            raise SettingsError(f"{place}: {day or 'the number without a date'} is there twice")
        values[start] = _number(place, value, least, most)
    starts = tuple(sorted(values))
    return Dated(starts, tuple(values[start] for start in starts))


def _word(word: str) -> tuple[str, str]:
    day, colon, value = word.rpartition(":")
    return (day, value) if colon else ("", word)


def _lines(name: str, path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"{name} = {path}: cannot be read: {err}") from err
    for number, row in enumerate(_rows(text.splitlines()), 1):
        if not row or row[0].startswith("#") or (number == 1 and row[0].lower() == "start"):
            continue
        if len(row) != 2:
            raise SettingsError(f"{path}:{number}: not a start and a value: {','.join(row)[:60]!r}")
        yield f"{path}:{number}", row[0], row[1]


def _rows(lines: Iterable[str]) -> Iterator[list[str]]:
    for line in lines:
        yield [cell.strip() for cell in next(csv.reader([line]), [])]


def _midnight(place: str, day: str, zone: ZoneInfo) -> int:
    try:
        first_day = date.fromisoformat(day)
    except ValueError:
        raise SettingsError(f"{place}: {day!r} is no date; it looks like 2026-01-01") from None
    return int(datetime(first_day.year, first_day.month, first_day.day, tzinfo=zone).timestamp())


def _number(place: str, text: str, least: str, most: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not Decimal(least) <= value <= Decimal(most):
        raise SettingsError(f"{place}: {text!r} is not a number between {least} and {most}")
    return text
