# SPDX-License-Identifier: MIT
"""Reads `--month`: a month of the site, by its number or by a word, as the first and the last second of it."""

from __future__ import annotations

import datetime as dt
import re

from carbon_collector.errors import SettingsError, UsageError

LOOKS = "it looks like 2026-10, this or last"


def month(text: str) -> str:
    """Return the month as the aggregator takes it: `2026-10`, `this` or `last`. Raises UsageError."""
    word = text.strip().lower()
    if word in ("this", "last"):
        return word
    match = re.fullmatch(r"(\d{4})-(\d\d?)", word, re.ASCII)
    if not match or not 1 <= int(match[2]) <= 12 or not 1970 <= int(match[1]) <= 9000:
        raise UsageError(f"--month {text}: no month; {LOOKS}")
    return f"{match[1]}-{int(match[2]):02}"


def window(text: str, zone: str, now: int) -> tuple[int, int]:
    """Return [start, end) of a month in a time zone, in epoch seconds. Raises UsageError and SettingsError."""
    import zoneinfo

    word = month(text)
    try:
        info = zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise SettingsError(f"[site] timezone = {zone}: no such time zone on this host") from err
    today = dt.datetime.fromtimestamp(now, info)
    year, number = (today.year, today.month) if word in ("this", "last") else map(int, word.split("-"))
    months = year * 12 + number - 1 - (word == "last")
    first, after = (dt.datetime(m // 12, m % 12 + 1, 1, tzinfo=info) for m in (months, months + 1))
    return int(first.timestamp()), int(after.timestamp())
