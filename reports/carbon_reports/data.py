# SPDX-License-Identifier: MIT
"""Returns the site's sums and jobs as pandas data frames, for notebooks and for Parquet.

    from carbon_reports import data
    data.usage("2026-10-01", "2026-11-01", by=["user"], freq="D")

The database adds up. A frame of sums has a row for each key and day or month, however many jobs there were; a frame of
jobs has a row for each, and is for a few thousand of them. Energies are kWh and masses kg, as floats, with the unit in the
column's name. Beside each stands the exact amount, as decimal text: `energy_uj` in microjoules, `carbon_ug` in
micrograms. Microjoules as int64 would overflow in a sum beyond 2.56 GWh, and pandas does not say so. What is not known
is NaN or None, never 0.
"""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING, Any

import pandas as pd

from carbon_collector import settings
from carbon_collector.errors import UsageError

from . import day_sums
from .day_sums import ENERGIES, FREQUENCIES, KEYS, MASSES
from .facts import all_runs, must_be_days_of, open_existing
from .numbers import KG, KWH
from .period import Period, days_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carbon_collector.settings import Settings

    from .day_sums import Sums


def usage(
    start: str | date, end: str | date, by: Sequence[str] = (), freq: str = "", config: Settings | str = ""
) -> pd.DataFrame:
    """Return sums of the jobs over the days from `start` to the one before `end`, in the site's time zone.

    `by`: of KEYS. `freq`: of FREQUENCIES; then the column `start` is the local beginning of the day, month or year, with
    the time zone. `config`: settings, or the path of the configuration file. `jobs` counts a job on each of its days.
    Raises UsageError and DatabaseError.
    """
    _check(by, freq)
    site, period = _opened(start, end, config)
    database = open_existing(site)
    try:
        with database.read() as session:
            must_be_days_of(session, str(period.zone))
            return frame_of(day_sums.read(session, period, by, freq), period, by, freq)
    finally:
        database.close()


def frame_of(sums: Sums, period: Period, by: Sequence[str], freq: str) -> pd.DataFrame:
    """Return the frame of sums that were read for a period of the site."""
    names = [*(["start"] if freq else []), *by]
    frame = pd.DataFrame([*map(list, sums)], columns=names) if names else pd.DataFrame(index=range(len(sums)))
    if freq:
        frame["start"] = pd.to_datetime(frame["start"], unit="s", utc=True).dt.tz_convert(str(period.zone))
    columns = list(zip(*sums.values(), strict=True)) or [()] * (1 + len(ENERGIES) + len(MASSES))
    frame["jobs"] = pd.array(columns[0], dtype="Int64")
    _add_amounts(frame, dict(zip((*ENERGIES, *MASSES), columns[1:], strict=True)))
    return frame.sort_values(names, ignore_index=True) if names else frame


def _check(by: Sequence[str], freq: str) -> None:
    unknown = [name for name in by if name not in KEYS]
    if unknown or freq not in FREQUENCIES:
        raise UsageError(f"by: of {', '.join(KEYS)}; freq: one of {', '.join(filter(None, FREQUENCIES))} or nothing")


def jobs(start: str | date, end: str | date, config: Settings | str = "") -> pd.DataFrame:
    """Return the runs of jobs in these days, a row each, with the keys of the HTTP API, cut to the window.

    Times have the site's time zone. Raises UsageError and DatabaseError.
    """
    site, period = _opened(start, end, config)
    database = open_existing(site)
    try:
        with database.read() as session:
            must_be_days_of(session, str(period.zone))
            rows = list(all_runs(session, period, int(time.time())))
    finally:
        database.close()
    amounts = {
        name: [row[_key(name)] for row in rows] for name in (*ENERGIES, *MASSES) if not rows or _key(name) in rows[0]
    }
    drawn = {_key(name) for name in amounts}
    frame = pd.DataFrame([{key: value for key, value in row.items() if key not in drawn} for row in rows])
    for name in ("submit", "start", "end"):
        if name in frame:
            frame[name] = pd.to_datetime(frame[name], unit="s", utc=True).dt.tz_convert(str(period.zone))
    _add_amounts(frame, amounts)
    return frame


def write_parquet(path: Any, frame: pd.DataFrame) -> None:
    """Write a frame as Parquet."""
    frame.to_parquet(path, index=False)


def _key(name: str) -> str:
    """Return the key of an amount in the HTTP API."""
    named = {"market": "carbon_market_ug"}
    return named.get(name) or f"{name}_{'uj' if name in ENERGIES else 'ug'}"


def _add_amounts(frame: pd.DataFrame, amounts: Mapping[str, Sequence[int | None]]) -> None:
    """Add each amount as a float with its unit, and beside it as exact text."""
    for name, values in amounts.items():
        size, unit, exact = (KWH, "kwh", "uj") if name in ENERGIES else (KG, "kg", "ug")
        frame[f"{name}_{unit}"] = pd.Series([None if v is None else v / size for v in values], dtype="float64")
        frame[f"{name}_{exact}"] = pd.Series([None if v is None else str(v) for v in values], dtype="object")


def _opened(start: str | date, end: str | date, config: Settings | str) -> tuple[Settings, Period]:
    site = settings.load(config) if isinstance(config, str) else config
    return site, days_of(str(start), str(end), site.text("site", "timezone"), int(time.time()))
