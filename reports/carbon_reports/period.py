# SPDX-License-Identifier: MIT
"""Some whole days of the site: a month, a year, or any others. Their borders are midnights in the site's time zone,
whatever the server's is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from carbon_acct.days import zone_info
from carbon_collector.errors import CarbonError, UsageError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

MONTH_FORM = re.compile(r"(2\d{3})-(0[1-9]|1[0-2])", re.ASCII)
YEAR_FORM = re.compile(r"2\d{3}", re.ASCII)
DAY_FORM = re.compile(r"2\d{3}-\d\d-\d\d", re.ASCII)
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
MOST_DAYS = 366
LONG = 62
"""The number of days beyond which a drawing has months instead of days."""


class FutureMonthError(CarbonError):
    """The period has not begun, so there is nothing to report."""


@dataclass(frozen=True)
class Period:
    """The days from `first` to the one before `after`, in a time zone."""

    first: date
    after: date
    zone: ZoneInfo

    @property
    def is_month(self) -> bool:
        """Return whether it is a calendar month."""
        return self.first.day == 1 and self.after == _months_on(self.first, 1)

    @property
    def is_year(self) -> bool:
        """Return whether it is a calendar year."""
        return self.first.day == 1 and self.first.month == 1 and self.after == _months_on(self.first, 12)

    @property
    def name(self) -> str:
        """Return the name of its folder: `2026-07`, `2026`, or `2026-07-03_2026-07-19`."""
        if self.is_year:
            return f"{self.first.year:04}"
        if self.is_month:
            return f"{self.first:%Y-%m}"
        return f"{self.first}_{self.last}"

    @property
    def title(self) -> str:
        """Return it as people write it: `July 2026`, `2026`, or `3 July to 19 August 2026`."""
        if self.is_year:
            return f"{self.first.year:04}"
        if self.is_month:
            return f"{MONTHS[self.first.month - 1]} {self.first.year}"
        return f"{_written(self.first)} to {_written(self.last)}"

    @property
    def short(self) -> str:
        """Return the same beside another period: a month without its year."""
        return MONTHS[self.first.month - 1] if self.is_month and not self.is_year else self.title

    @property
    def is_long(self) -> bool:
        """Return whether drawings have months instead of days."""
        return (self.after - self.first).days > LONG

    @property
    def last(self) -> date:
        """Return the last day."""
        return self.after - timedelta(days=1)

    @property
    def start(self) -> int:
        """Return the first second, in epoch seconds."""
        return self._midnight(self.first)

    @property
    def end(self) -> int:
        """Return the first second after it, in epoch seconds."""
        return self._midnight(self.after)

    def borders(self) -> list[int]:
        """Return the midnights of its days and the one after them. A day may have 23 or 25 hours."""
        return [self._midnight(self.first + timedelta(days=n)) for n in range((self.after - self.first).days + 1)]

    def day(self, epoch: int) -> str:
        """Return the day in which a time lies, `2026-07-14`."""
        return self.local(epoch).date().isoformat()

    def local(self, epoch: int) -> datetime:
        """Return a time on the site's clocks."""
        return datetime.fromtimestamp(epoch, self.zone)

    def moment(self, epoch: int | None) -> str:
        """Return a time with its offset from UTC, `2026-07-14T05:33:20+02:00`, or an empty text where it is not known."""
        return "" if epoch is None else self.local(epoch).isoformat()

    def before(self) -> Period:
        """Return the month before, the year before, or as many days before."""
        if self.is_year:
            return Period(_months_on(self.first, -12), self.first, self.zone)
        if self.is_month:
            return Period(_months_on(self.first, -1), self.first, self.zone)
        return Period(self.first - (self.after - self.first), self.first, self.zone)

    def following(self) -> Period:
        """Return the month or the year after, or as many days after."""
        if self.is_year or self.is_month:
            return Period(self.after, _months_on(self.after, 12 if self.is_year else 1), self.zone)
        return Period(self.after, self.after + (self.after - self.first), self.zone)

    def year_before(self) -> Period:
        """Return the same days of the year before."""
        return Period(_months_on(self.first, -12), _months_on(self.after, -12), self.zone)

    def compared(self, now: int) -> tuple[Period, Period]:
        """Return the period before and the same days of the year before; of one that is not over, as many days of each as
        have begun.
        """
        both = self.before(), self.year_before()
        if now >= self.end:
            return both
        begun = sum(border <= now for border in self.borders()[:-1])
        return tuple(Period(p.first, min(p.first + timedelta(days=begun), p.after), p.zone) for p in both)  # type: ignore[return-value]

    def twelve_months(self) -> list[Period]:
        """Return the twelve months that end with the month of its last day."""
        last = self.last.replace(day=1)
        firsts = [_months_on(last, n) for n in range(-11, 1)]
        return [Period(first, _months_on(first, 1), self.zone) for first in firsts]

    def _midnight(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp())


def month_of(text: str, timezone: str, now: int) -> Period:
    """Return the month `2026-07` in the site's time zone. Raises UsageError, SettingsError and FutureMonthError."""
    match = MONTH_FORM.fullmatch(text)
    if not match:
        raise UsageError(f"{text!r} is no month; it looks like {datetime.fromtimestamp(now, UTC):%Y-%m}")
    first = date(int(match[1]), int(match[2]), 1)
    return _begun(Period(first, _months_on(first, 1), zone_info(timezone)), text, now)


def year_of(text: str, timezone: str, now: int) -> Period:
    """Return the year `2026` in the site's time zone. Raises the same errors."""
    if not YEAR_FORM.fullmatch(text):
        raise UsageError(f"{text!r} is no year; it looks like {datetime.fromtimestamp(now, UTC):%Y}")
    first = date(int(text), 1, 1)
    return _begun(Period(first, _months_on(first, 12), zone_info(timezone)), text, now)


def days_of(start: str, end: str, timezone: str, now: int) -> Period:
    """Return the days from `2026-07-03` to the one before `2026-07-20`. Raises the same errors."""
    first, after = _day_of("--start", start), _day_of("--end", end)
    if not first < after:
        raise UsageError(f"--end {end} is not after --start {start}; the day of --end is not part of the report")
    if (after - first).days > MOST_DAYS:
        raise UsageError(f"--start {start} --end {end} is more than a year; a report has at most {MOST_DAYS} days")
    return _begun(Period(first, after, zone_info(timezone)), start, now)


def _day_of(option: str, text: str) -> date:
    try:
        if DAY_FORM.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UsageError(f"{option}: {text!r} is no day; it looks like 2026-07-14")


def _begun(period: Period, text: str, now: int) -> Period:
    if period.start > now:
        raise FutureMonthError(f"{text} has not begun: in {period.zone} it is {period.day(now)}")
    return period


def _months_on(day: date, months: int) -> date:
    """Return the same day some months later or earlier; the month's last day where it has no such day."""
    count = day.year * 12 + day.month - 1 + months
    year, month = divmod(count, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, min(day.day, last))
        except ValueError:
            continue
    raise ValueError(f"no day {months} months from {day}")


def in_words(moment: str) -> str:
    """Return a time on the site's clocks as people write it, `1 December 2026, 00:00`. `moment`: what Period.moment
    returns.
    """
    at = datetime.fromisoformat(moment)
    return f"{_written(at.date())}, {at:%H:%M}"


def _written(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"
