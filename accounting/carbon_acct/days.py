# SPDX-License-Identifier: MIT
"""Knows the calendar of the site: days from midnight to midnight in its time zone, which are 23 to 25 hours long."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from carbon_collector.errors import SettingsError
from carbon_collector.units import SLOT_S


def zone_info(name: str) -> ZoneInfo:
    """Return the time zone that `[site] timezone` names. Raises SettingsError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise SettingsError(
            f"[site] timezone = {name}: no such time zone; it looks like Europe/Berlin (tzdata is needed)"
        ) from err


class Days:
    """The days of a time zone, each named by its first second. The offset of every zone of today from UTC is a multiple
    of a slot.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._start_of_slot = lru_cache(maxsize=4096)(self._start)
        self.after = lru_cache(maxsize=4096)(self._after)
        """First second of the day after the one that begins at the given second."""

    def start(self, epoch: int) -> int:
        """Return the first second of the day in which an instant lies."""
        return self._start_of_slot(epoch - epoch % SLOT_S)

    def _after(self, day: int) -> int:
        local = datetime.fromtimestamp(day, self.zone).date() + timedelta(days=1)
        return int(datetime(local.year, local.month, local.day, tzinfo=self.zone).timestamp())

    def _start(self, epoch: int) -> int:
        local = datetime.fromtimestamp(epoch, self.zone)
        return int(datetime(local.year, local.month, local.day, tzinfo=self.zone).timestamp())
