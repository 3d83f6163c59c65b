# SPDX-License-Identifier: MIT
"""Turns the words for a window into days of the site: months, dates, and the window to compare with. Pure.

Every window here is one of whole days, from midnight to midnight of the site's zone, because roll-ups are of days.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from carbon_acct.days import Days
from carbon_acct.window import MAX_TIME

MOST_DAYS = 20 * 366
"""The longest window, in days."""

COMPARISONS = ("previous", "year")


@dataclass(frozen=True)
class Period:
    """Whole days of the site: [first, until) as dates."""

    first: date
    until: date

    @property
    def month(self) -> str | None:
        """Return `2026-10` where it is that month, else None."""
        whole = self.first.day == 1 and self.until == _months_after(self.first, 1)
        return f"{self.first:%Y-%m}" if whole else None

    @property
    def is_year(self) -> bool:
        """Return whether it is a year from January to December."""
        return (self.first.month, self.first.day) == (1, 1) and self.until == _months_after(self.first, 12)

    @property
    def last(self) -> date:
        """Return its last day."""
        return self.until - timedelta(days=1)

    @property
    def days(self) -> int:
        """Return the number of its days."""
        return (self.until - self.first).days

    def first_days(self, unit: str) -> list[date]:
        """Return the first days of its parts: of each `day`, each `week` (from Monday), each `month`."""
        day, found = self.first, []
        while day < self.until:
            found.append(day)
            if unit == "month":
                day = _months_after(day.replace(day=1), 1)
            else:
                day += timedelta(days=7 - day.weekday() if unit == "week" else 1)
        return found


def epoch_of(day: date, days: Days) -> int:
    """Return the first second of a day of the site, which in some zones is not midnight."""
    return int(datetime(day.year, day.month, day.day, tzinfo=days.zone).timestamp())


def date_of(epoch: int, days: Days) -> date:
    """Return the site's day in which an instant lies."""
    return datetime.fromtimestamp(epoch, days.zone).date()


def month_period(word: str, now: int, days: Days) -> Period:
    """Return the month that `2026-10`, `this` or `last` names. Raises ValueError."""
    this = date_of(now, days).replace(day=1)
    if word in ("this", "last"):
        first = this if word == "this" else _months_after(this, -1)
    else:
        found = re.fullmatch(r"(\d{4})-(\d{1,2})", word, re.ASCII)
        if not found or not 1 <= int(found[2]) <= 12 or int(found[1]) < 1970:
            raise ValueError(f"month: {word!r} is no month; it looks like 2026-10, this or last")
        first = date(int(found[1]), int(found[2]), 1)
    return Period(first, _months_after(first, 1))


def period(start: str, end: str, now: int, days: Days) -> Period:
    """Return the days [start, end): dates, or epoch seconds at midnights of the site. Raises ValueError.

    Without `start` they begin with this month; without `end` they end with today. An end in the future is whatever
    time it is: nothing is there after now.
    """
    today = date_of(now, days)
    first = _day("start", start, days) if start else today.replace(day=1)
    if not end:
        until = today + timedelta(days=1)
    elif _is_number(end) and int(end) >= now and int(end) < MAX_TIME:
        until = date_of(int(end) - 1, days) + timedelta(days=1)
    else:
        until = _day("end", end, days)
    if until <= first:
        raise ValueError(f"end ({until}) is not after start ({first}), in days of {days.zone.key}")
    if (until - first).days > MOST_DAYS:
        raise ValueError(f"more than {MOST_DAYS} days; ask for fewer")
    return Period(first, until)


def compared(asked: Period, how: str, now: int, days: Days) -> tuple[Period, str]:
    """Return the window to compare with, by a word of COMPARISONS, and a note where it is not the whole of it."""
    if how == "year":
        # A 29 February has no day a year before: the window of before then ends with the 28th, and not before it.
        last = _months_after(asked.last, -12)
        before = Period(_months_after(asked.first, -12), max(_months_after(asked.until, -12), last + timedelta(days=1)))
    elif asked.month:
        before = Period(_months_after(asked.first, -1), asked.first)
    elif asked.is_year:
        before = Period(_months_after(asked.first, -12), asked.first)
    else:
        before = Period(asked.first - timedelta(days=asked.days), asked.first)
    begun = (date_of(now, days) - asked.first).days + 1
    if not 0 < begun < asked.days:
        return before, ""
    cut = Period(before.first, min(before.until, before.first + timedelta(days=begun)))
    return cut, f"compared with the first {cut.days} days of the window before: so many have begun, today among them"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _day(name: str, text: str, days: Days) -> date:
    """Return a day from a date, or from epoch seconds that are its beginning. Raises ValueError."""
    if not _is_number(text):
        if not re.fullmatch(r"(?:19[7-9]|[2-8]\d\d)\d-\d\d-\d\d", text, re.ASCII):
            raise ValueError(f"{name}: {text!r} is neither a date like 2026-10-01 nor epoch seconds")
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{name}: {text!r} is neither a date of the calendar nor epoch seconds") from None
    epoch = int(text) if len(text) < 15 else MAX_TIME
    if epoch >= MAX_TIME:
        raise ValueError(f"{name}: {text} is later than the year 9999")
    day = days.start(epoch)
    if day != epoch:
        raise ValueError(
            f"{name}: {text} is no midnight of {days.zone.key}, and sums are of whole days there;"
            f" ask for {day} or {days.after(day)}, or for a date"
        )
    return date_of(epoch, days)


def _months_after(day: date, months: int) -> date:
    """Return the same day of another month, or its last one."""
    at = day.year * 12 + day.month - 1 + months
    year, month = divmod(at, 12)
    for back in range(4):
        try:
            return date(year, month + 1, day.day - back)
        except ValueError:
            continue
    raise ValueError(f"no such month after {day}")
