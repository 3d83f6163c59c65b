# SPDX-License-Identifier: MIT
"""Reads and writes times as people do: sacct's syntax in, SLURM_TIME_FORMAT out, epoch seconds inside.

It follows parse_time() of Slurm with its `past` flag set, which is how sacct calls it. A time without a date is
today's. A month without a year that is still to come is last year's.
"""

from __future__ import annotations

import re
import time

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import NamedTuple
from carbon_collector.units import DAY_S

LATEST = 253_370_764_800  # the year 9999: later ones are as good, and every calendar has this one
UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": DAY_S, "week": 7 * DAY_S}
HOURS = {"midnight": 0, "elevenses": 11, "noon": 12, "fika": 15, "teatime": 16}
EXAMPLES = "it looks like 2026-07-13T14:30, 07/13, 14:30, now-2hours, today or midnight"

# Compiled when they are first asked for: all of them together take as long as everything else that a command does.
FLAGS = re.IGNORECASE | re.ASCII
NOW = r"now\s*(?:([+-])\s*(\d+)\s*(?:(second|minute|hour|day|week)s?)?)?"
CLOCK = r"(\d\d?):(\d\d)(?::(\d\d))?(?:\s*([AP])M)?"
ISO_DATE = r"(\d{4})-(\d\d?)-(\d\d?)"
DATE = r"(\d\d?)[./](\d\d?)(?:[./](\d\d))?(?!\d)|(\d\d)(\d\d)(\d\d)?(?!\d)"
WORD = r"[a-z]+"


class Date(NamedTuple):
    """A day. `year` is 0 where it was not said."""

    year: int
    month: int
    day: int


class Clock(NamedTuple):
    """A time of day."""

    hour: int
    minute: int
    second: int


def parse_time(text: str, now: int) -> int:
    """Return the epoch seconds of a time in sacct's syntax, in the local time zone. `now` is in epoch seconds. Raises
    UsageError.
    """
    return min(max(_parse(text.strip(), text, now), 0), LATEST)


def _parse(spec: str, text: str, now: int) -> int:
    relative = re.fullmatch(NOW, spec, FLAGS)
    if relative:
        sign, count, unit = relative.groups()
        return now + int(f"{sign or ''}{count or 0}") * UNITS_S[(unit or "second").lower()]
    if spec[:3].lower() == "uts" and spec[3:].isascii() and spec[3:].isdecimal():
        return int(spec[3:])
    date, clock = _date_and_clock(spec, text, now)
    return _epoch(date or _day(now), clock or Clock(0, 0, 0), text, now)


def local_midnight(now: int) -> int:
    """Return the epoch seconds of 00:00:00 of the current day in the local time zone."""
    return _epoch(_day(now), Clock(0, 0, 0), "midnight", now)


def show_time(epoch: int | None, style: str, now: int) -> str:
    """Return a local time as text. `style` is the value of SLURM_TIME_FORMAT. The text is empty where the time is not
    known.
    """
    if epoch is None:
        return ""
    when = time.localtime(epoch)
    if style == "relative":
        return time.strftime(_relative(when, time.localtime(now)), when)
    return time.strftime(style if "%" in style else "%Y-%m-%dT%H:%M:%S", when)


def show_duration(seconds: int | None) -> str:
    """Return `[days-]HH:MM:SS`, as Slurm writes Elapsed. The text is empty where the duration is not known."""
    if seconds is None:
        return ""
    days, rest = divmod(seconds, DAY_S)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock


def _date_and_clock(spec: str, text: str, now: int) -> tuple[Date | None, Clock | None]:
    """Read a date, a time of day, or both, in any order, with blanks, `-` or `T` between."""
    date: Date | None = None
    clock: Clock | None = None
    while spec:
        found: Date | Clock | None
        found, length = _next(spec, text, now)
        if isinstance(found, Date) and date is None:
            date = found
        elif isinstance(found, Clock) and clock is None:
            clock = found
        else:
            raise _wrong(text)
        spec = spec[length:].lstrip(" \tT-")
    if date is None and clock is None:
        raise _wrong(text)
    return date, clock


def _next(spec: str, text: str, now: int) -> tuple[Date | Clock, int]:
    """Return the date or the time of day at the head of `spec`, and its length."""
    if match := re.match(WORD, spec, FLAGS):
        word = match[0].lower()
        if word in HOURS:
            return Clock(HOURS[word], 0, 0), match.end()
        if word in ("today", "tomorrow"):
            return _day(now + DAY_S * (word == "tomorrow")), match.end()
    elif match := re.match(CLOCK, spec, FLAGS):
        return _clock(match, text), match.end()
    elif match := re.match(ISO_DATE, spec, FLAGS):
        return Date(int(match[1]), int(match[2]), int(match[3])), match.end()
    elif match := re.match(DATE, spec, FLAGS):
        month, day, year = match.groups()[:3] if match[1] else match.groups()[3:]
        return Date(2000 + int(year) if year else 0, int(month), int(day)), match.end()
    raise _wrong(text)


def _clock(match: re.Match[str], text: str) -> Clock:
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    half = (match[4] or "").upper()
    if half and not 1 <= hour <= 12:
        raise _wrong(text)
    if half:
        hour = hour % 12 + 12 * (half == "P")
    if hour > 23 or minute > 59 or second > 59:
        raise _wrong(text)
    return Clock(hour, minute, second)


def _day(epoch: int) -> Date:
    when = time.localtime(epoch)
    return Date(when.tm_year, when.tm_mon, when.tm_mday)


def _epoch(date: Date, clock: Clock, text: str, now: int) -> int:
    today = _day(now)
    year = date.year or today.year - (date.month > today.month)
    try:
        epoch = int(time.mktime((year, date.month, date.day, *clock, 0, 0, -1)))
    except (OverflowError, ValueError) as err:
        raise _wrong(text) from err
    # mktime() makes 3 March of 31 February. A clock time that the change to summer time skips may move, a day not.
    if _day(epoch) != (year, date.month, date.day):
        raise UsageError(f"{text!r} is no day of the calendar")
    return epoch


def _relative(when: time.struct_time, now: time.struct_time) -> str:
    """Return the format that SLURM_TIME_FORMAT=relative gives a time, by its distance in days."""
    distance = 1000 * (when.tm_year - now.tm_year) + when.tm_yday - now.tm_yday
    near = {-1: "Ystday %H:%M", 0: "%H:%M:%S", 1: "Tomorr %H:%M"}
    if distance in near:
        return near[distance]
    if abs(distance) > 365:
        return "%-d %b %Y"
    return "%a %H:%M" if 0 < distance <= 6 else "%-d %b %H:%M"


def _wrong(text: str) -> UsageError:
    return UsageError(f"{text!r} is no time; {EXAMPLES}")
