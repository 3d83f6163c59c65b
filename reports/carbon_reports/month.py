# SPDX-License-Identifier: MIT
"""A month of the site: its borders are midnights in the site's time zone, whatever the server's is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from carbon_acct.days import zone_info
from carbon_collector.errors import CarbonError, UsageError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

FORM = re.compile(r"(2\d{3})-(0[1-9]|1[0-2])", re.ASCII)


class FutureMonthError(CarbonError):
    """The month has not begun, so there is nothing to report."""


@dataclass(frozen=True)
class Month:
    """A calendar month in a time zone."""

    year: int
    month: int
    zone: ZoneInfo

    @property
    def name(self) -> str:
        """Return the month as text, `2026-07`."""
        return f"{self.year:04}-{self.month:02}"

    @property
    def start(self) -> int:
        """Return the first second, in epoch seconds."""
        return self._midnight(date(self.year, self.month, 1))

    @property
    def end(self) -> int:
        """Return the first second of the next month, in epoch seconds."""
        return self._midnight(date(self.year + self.month // 12, self.month % 12 + 1, 1))

    def borders(self) -> list[int]:
        """Return the midnights of the month and the first one of the next month. A day may have 23 or 25 hours."""
        day = date(self.year, self.month, 1)
        midnights = [self._midnight(day)]
        while midnights[-1] < self.end:
            day += timedelta(days=1)
            midnights.append(self._midnight(day))
        return midnights

    def day(self, epoch: int) -> str:
        """Return the day in which a time lies, `2026-07-14`."""
        return datetime.fromtimestamp(epoch, self.zone).date().isoformat()

    def moment(self, epoch: int | None) -> str:
        """Return a time with its offset from UTC, `2026-07-14T05:33:20+02:00`, or an empty text where it is not known."""
        return "" if epoch is None else datetime.fromtimestamp(epoch, self.zone).isoformat()

    def _midnight(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp())


def month_of(text: str, timezone: str, now: int) -> Month:
    """Return the month `2026-07` in the site's time zone. Raises UsageError, SettingsError and FutureMonthError."""
    match = FORM.fullmatch(text)
    if not match:
        raise UsageError(f"{text!r} is no month; it looks like {datetime.fromtimestamp(now, UTC):%Y-%m}")
    month = Month(int(match[1]), int(match[2]), zone_info(timezone))
    if month.start > now:
        raise FutureMonthError(f"{text} has not begun: in {timezone} it is {month.day(now)}")
    return month
