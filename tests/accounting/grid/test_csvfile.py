# SPDX-License-Identifier: MIT
"""A site's own series in a file: used whole, or refused with the number of the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from carbon_acct.errors import ProviderError
from carbon_acct.grid.provider import DIRECT, Period

from .conftest import Make

T0 = 1_767_225_600
GOOD = """start,g_per_kwh
2026-01-01T00:30Z,302.5
2026-01-01T00:00Z,301
2026-01-01T02:00+01:00,0
"""


def write(path: Path, text: str | bytes) -> str:
    file = path / "series.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"csv:{file}"


def test_a_line_holds_until_the_next(make: Make, tmp_path: Path) -> None:
    """Lines are sorted; one without end holds until the next begins, the last as long as the one before it."""
    series = make(write(tmp_path, GOOD))

    assert series.history(T0, T0 + 7200) == [
        Period(T0, T0 + 1800, "301"),
        Period(T0 + 1800, T0 + 3600, "302.5"),
        Period(T0 + 3600, T0 + 5400, "0"),
    ]
    assert [p.estimated for p in series.forecast(T0, T0 + 900)] == [True]
    assert series.text == "file series.csv, lifecycle"


def test_ends_gaps_and_estimates(make: Make, tmp_path: Path) -> None:
    """An end leaves a gap behind it; an estimate is kept as one; what a spreadsheet adds to a file does no harm."""
    text = (
        "\ufeffstart,end,estimated,g_per_kwh\r\n"
        "2026-01-01T00:00Z,2026-01-01T00:15Z,yes,301\r\n"
        '"2026-01-01T01:00Z",2026-01-01T01:15Z,,300\r\n'
    )

    assert make(write(tmp_path, text)).history(T0, T0 + 7200) == [
        Period(T0, T0 + 900, "301", estimated=True),
        Period(T0 + 3600, T0 + 4500, "300"),
    ]


def test_scope_is_the_site_s_to_say(make: Make, tmp_path: Path) -> None:
    """A file of direct emissions is named as one."""
    assert make(write(tmp_path, GOOD).replace("csv:", "csv+direct:")).scope == DIRECT


def test_a_night_with_an_hour_twice(make: Make, tmp_path: Path) -> None:
    """Local times with their offset are unambiguous in the night when clocks go back."""
    text = "start,g_per_kwh\n2026-10-25T02:00+02:00,100\n2026-10-25T02:00+01:00,200\n2026-10-25T03:00+01:00,300\n"
    first = 1_792_886_400

    assert [(p.start - first, p.g_per_kwh) for p in make(write(tmp_path, text)).history(first, first + 10_800)] == [
        (0, "100"),
        (3600, "200"),
        (7200, "300"),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("2026-01-01T03:00Z,-5", "g_per_kwh of this line is '-5'; expected a number from 0"),
        ("2026-01-01T03:00Z,many", "g_per_kwh is 'many'; expected a number"),
        ("2026-01-01T03:00Z,", "g_per_kwh is ''; expected a number"),
        ("2026-01-01T03:00Z,NaN", "expected a number from 0"),
        ("2026-01-01T03:00Z,301,7", "not as many fields"),
        ("2026-01-01T03:00Z", "not as many fields"),
        ("2026-01-01 03:00,300", "without time zone"),
        ("01/01/2026,300", "expected e.g. 2026-01-31T13:00Z"),
        ("0001-01-01T00:00Z,300", "expected a time between"),
        ("2026-01-01T01:00Z,300", "no end can be told"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_used(make: Make, tmp_path: Path, line: str, says: str) -> None:
    """A bad line refuses the whole file by its number, whatever range is asked; the good lines are not used."""
    file = write(tmp_path, f"{GOOD}{line}\n")

    with pytest.raises(ProviderError) as e:
        make(file).history(T0, T0 + 900)
    assert says in str(e.value)
    assert f"{tmp_path}/series.csv, line {4 if 'told' in says else 5}: " in str(e.value)
    assert e.value.permanent


def test_lines_that_overlap(make: Make, tmp_path: Path) -> None:
    """Two lines for one time are named, both of them."""
    text = "start,end,g_per_kwh\n2026-01-01T00:00Z,2026-01-01T02:00Z,300\n2026-01-01T01:00Z,2026-01-01T02:00Z,310\n"

    with pytest.raises(ProviderError, match="line 2: it overlaps line 3"):
        make(write(tmp_path, text)).history(T0, T0 + 900)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: the columns are ''"),
        ("start;g_per_kwh\n2026-01-01T00:00Z;300\n", "line 1: the columns are 'start;g_per_kwh'"),
        ("start,g_per_kwh\n", "there is no line below the header"),
        ("start,g_per_kwh,colour\n", "line 1"),
        ("start,g_per_kwh,start\n", "line 1"),
        ("start,g_per_kwh\n2026-01-01T00:00Z,300\n", "line 2: no end can be told"),
        (b"start,g_per_kwh\n\xff\xfe,300\n", "cannot be read"),
        ("start,end,estimated,g_per_kwh\n2026-01-01T00:00Z,2026-01-01T01:00Z,perhaps,300\n", "expected yes or no"),
        ("start,end,g_per_kwh\n2026-01-01T01:00Z,2026-01-01T00:00Z,300\n", "line 2: end is not after start"),
        ("start,g_per_kwh\n2026-01-01T00:00Z,0.3\n2026-01-01T01:00Z,0.31\n", "looks like kg/kWh"),
    ],
)
def test_files_that_are_none(make: Make, tmp_path: Path, text: str | bytes, says: str) -> None:
    """Wrong columns, bytes, lengths and units are each one line."""
    with pytest.raises(ProviderError) as e:
        make(write(tmp_path, text)).history(T0, T0 + 900)
    assert says in str(e.value)
    assert len(str(e.value).splitlines()) == 1


def test_a_file_that_is_missing_may_come(make: Make, tmp_path: Path) -> None:
    """A missing file is named, and read once it is there."""
    series = make(f"csv:{tmp_path}/series.csv")
    with pytest.raises(ProviderError, match=r"series\.csv cannot be read: No such file"):
        series.history(T0, T0 + 900)
    write(tmp_path, GOOD)

    assert len(series.history(T0, T0 + 900)) == 1
