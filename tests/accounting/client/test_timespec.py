# SPDX-License-Identifier: MIT
"""Times in sacct's syntax, against a fixed now: Tuesday 2026-07-14T03:33:20 in Berlin."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.client import selection, timespec
from carbon_collector.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_783_992_800


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch, _utc: None) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    return


def local(epoch: int) -> str:
    """A time as sacct prints it."""
    return timespec.show_time(epoch, "", NOW)


@pytest.mark.parametrize(
    ("text", "meant"),
    {
        "14:30": "2026-07-14T14:30:00",  # later today: sacct does not look at yesterday
        "1:02:03": "2026-07-14T01:02:03",
        "3:30 PM": "2026-07-14T15:30:00",
        "12:00am": "2026-07-14T00:00:00",
        "12:30PM": "2026-07-14T12:30:00",
        "0713": "2026-07-13T00:00:00",
        "071325": "2025-07-13T00:00:00",
        "07/13": "2026-07-13T00:00:00",
        "7/1": "2026-07-01T00:00:00",
        "07.13.25": "2025-07-13T00:00:00",
        "12/24": "2025-12-24T00:00:00",  # a month still to come is last year's
        "07/20": "2026-07-20T00:00:00",  # a day still to come is this year's: sacct compares months only
        "07/13-10:00": "2026-07-13T10:00:00",
        "0713-10:00:05": "2026-07-13T10:00:05",
        "2026-07-13": "2026-07-13T00:00:00",
        "2026-7-3": "2026-07-03T00:00:00",
        "2026-07-13T14:30": "2026-07-13T14:30:00",
        "2026-07-13 14:30:15": "2026-07-13T14:30:15",
        "10:00 07/13": "2026-07-13T10:00:00",
        "today": "2026-07-14T00:00:00",
        "TODAY 10:00": "2026-07-14T10:00:00",
        "tomorrow": "2026-07-15T00:00:00",
        "midnight": "2026-07-14T00:00:00",
        "elevenses": "2026-07-14T11:00:00",
        "noon": "2026-07-14T12:00:00",
        "fika": "2026-07-14T15:00:00",
        "teatime": "2026-07-14T16:00:00",
        "today-noon": "2026-07-14T12:00:00",
        "now": "2026-07-14T03:33:20",
        "now-20": "2026-07-14T03:33:00",
        "now-2hours": "2026-07-14T01:33:20",
        "now - 1 day": "2026-07-13T03:33:20",
        "now+3minutes": "2026-07-14T03:36:20",
        "Now-1week": "2026-07-07T03:33:20",
        "uts1783992800": "2026-07-14T03:33:20",
        " 2026-02-01 ": "2026-02-01T00:00:00",
    }.items(),
)
def test_parse(text: str, meant: str) -> None:
    """Each of sacct's forms means what it means to sacct."""
    assert local(timespec.parse_time(text, NOW)) == meant


@pytest.mark.parametrize(
    "text",
    ["", "25:00", "14:60", "14", "1:2", "13:00 PM", "0:30 AM", "2026-13-01", "2026-02-30", "2026-07", "02/30", "now-", "now-1month",
     "now 5", "yesterday", "today today", "10:00 11:00", "2026-07-13T", "2026-07-13T14:30Z", "1783992800", "٣:٠٠", "x"],
)  # fmt: skip
def test_parse_refuses(text: str) -> None:
    """What is no time is refused in one line, never guessed at; a T at the end is as harmless as to sacct."""
    if text.endswith("T"):
        assert local(timespec.parse_time(text, NOW)) == "2026-07-13T00:00:00"
        return
    with pytest.raises(UsageError):
        timespec.parse_time(text, NOW)


@given(st.text(max_size=30))
def test_parse_never_fails_otherwise(text: str) -> None:
    """Whatever is typed is a time or a usage error."""
    try:
        timespec.parse_time(text, NOW)
    except UsageError as err:
        assert "\n" not in repr(str(err))  # noqa: PT017


@given(st.integers(min_value=0, max_value=2**33))
def test_what_is_shown_is_read_back(epoch: int) -> None:
    """A time as printed means the same time when typed; but for the hour that the end of summer time repeats."""
    assert timespec.parse_time(local(epoch), NOW) - epoch in {0, 3600, -3600}
    assert local(timespec.parse_time(local(epoch), NOW)) == local(epoch)


@pytest.mark.parametrize(
    ("away_s", "shown"),
    [(0, "03:33:20"), (-86400, "Ystday 03:33"), (86400, "Tomorr 03:33"), (3 * 86400, "Fri 03:33"),
     (-3 * 86400, "11 Jul 03:33"), (30 * 86400, "13 Aug 03:33"), (-700 * 86400, "13 Aug 2024")],
)  # fmt: skip
def test_relative(away_s: int, shown: str) -> None:
    """SLURM_TIME_FORMAT=relative says days as sacct does."""
    assert timespec.show_time(NOW + away_s, "relative", NOW) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (0, "00:00:00"), (59, "00:00:59"), (86399, "23:59:59"), (90061, "1-01:01:01")]
)
def test_duration(seconds: int | None, shown: str) -> None:
    """Durations look as in Slurm."""
    assert timespec.show_duration(seconds) == shown


MIDNIGHT = NOW - 3 * 3600 - 33 * 60 - 20


@pytest.mark.parametrize(
    ("start", "end", "jobs", "states", "expected"),
    [
        ("", "", False, False, (MIDNIGHT, NOW + 1)),
        ("", "", True, False, (0, NOW + 1)),
        ("", "", False, True, (NOW, NOW + 1)),
        ("", "", True, True, (0, NOW + 1)),
        ("today", "", False, True, (MIDNIGHT, MIDNIGHT + 1)),
        ("today", "", True, True, (MIDNIGHT, MIDNIGHT + 1)),
        ("today", "", False, False, (MIDNIGHT, NOW + 1)),
        ("now-1day", "today", False, False, (NOW - 86400, MIDNIGHT)),
        ("today", "today", False, False, (MIDNIGHT, MIDNIGHT + 1)),
        ("", "tomorrow", False, True, (NOW, MIDNIGHT + 86400)),
    ],
)
def test_window(start: str, end: str, jobs: bool, states: bool, expected: tuple[int, int]) -> None:
    """The default window depends on -j and -s as sacct(1) says, and holds the second that it ends with."""
    assert selection.window(start, end, jobs, states, NOW) == expected
