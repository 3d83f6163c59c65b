# SPDX-License-Identifier: MIT
"""Figures with dates: what is in force when, and that a wrong one is named by its place."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from carbon_acct.factors.dated_value import dated
from carbon_collector.errors import SettingsError

BERLIN = ZoneInfo("Europe/Berlin")


def at(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=BERLIN).timestamp())


def test_a_number() -> None:
    """A plain number holds at any time."""
    assert dated("x", "1.3", BERLIN).at(0) == "1.3"


def test_dates() -> None:
    """A number with a date holds from that day's midnight of the site on."""
    found = dated("x", "1.35 2026-07-01:1.25", BERLIN)

    assert found.at(at(2026, 7, 1) - 1) == "1.35"
    assert found.at(at(2026, 7, 1)) == "1.25"


def test_nothing_before() -> None:
    """Before the first date nothing is stated; with no text nothing ever is."""
    assert dated("x", "2026-07-01:12", BERLIN).at(at(2026, 6, 30)) is None
    assert dated("x", "", BERLIN).at(0) is None


def test_file(tmp_path: Path) -> None:
    """A file says the same, a header and comments are skipped."""
    path = tmp_path / "pue.csv"
    path.write_text("start,value\n# measured by the meter of the hall\n,1.4\n2026-01-01,1.3\n")

    assert [dated("x", str(path), BERLIN).at(t) for t in (0, at(2026, 1, 1))] == ["1.4", "1.3"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1.2 2026-13-01:1.3", "'2026-13-01' is no date"),
        ("x", "'x' is not a number"),
        ("nan", "'nan' is not a number"),
        ("0.9", "between 1 and 9"),
        ("1.2 1.3", "twice"),
        ("/nowhere.csv", "cannot be read"),
    ],
)
def test_wrong(text: str, says: str) -> None:
    """A wrong figure is one line that says which."""
    with pytest.raises(SettingsError, match=says):
        dated("[site] pue", text, BERLIN, "1", "9")


def test_wrong_line(tmp_path: Path) -> None:
    """A bad line of a file is named by its number."""
    path = tmp_path / "pue.csv"
    path.write_text("start,value\n2026-01-01,1.3\n2026-02-01;1.2\n")
    with pytest.raises(SettingsError, match=r"pue\.csv:3: not a start and a value"):
        dated("x", str(path), BERLIN)
