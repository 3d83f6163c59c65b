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
from sqlalchemy import func, select

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.large_sums import known
from carbon_acct.db.models import Association, Cluster, DaySum
from carbon_acct.db.rows import ask
from carbon_acct.known import sum_known
from carbon_collector import settings
from carbon_collector.errors import UsageError

from .facts import all_runs, must_be_days_of, open_existing
from .numbers import KG, KWH
from .period import Period, days_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

    from carbon_collector.settings import Settings

KEYS = {
    "cluster": Cluster.name,
    "user": Association.user,
    "account": Association.account,
    "partition": Association.partition,
    "qos": Association.qos,
}
"""The columns that `by` may name."""

FREQUENCIES = ("", "D", "MS", "YS")
"""pandas' words for days, months and years; an empty text: the whole window."""

ENERGIES = ("energy", "estimated", "cpu", "dram", "gpu", "other", "facility")
MASSES = ("carbon", "market", "embodied", "upstream", "td")


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
            return usage_of(session, period, by, freq)
    finally:
        database.close()


def usage_of(session: Session, period: Period, by: Sequence[str], freq: str) -> pd.DataFrame:
    """Return the same from an open session, for a period of the site."""
    names = [*(["start"] if freq else []), *by]
    sums: dict[tuple[Any, ...], list[int | None]] = {}
    for day, *rest in _sums(session, period, list(by), bool(freq)):
        key, amounts = tuple(rest[: len(by)]), rest[len(by) :]
        at = (*((_begin(period, day, freq),) if freq else ()), *key)
        before = sums.get(at)
        sums[at] = amounts if before is None else [sum_known(pair) for pair in zip(before, amounts, strict=True)]
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


def _sums(session: Session, period: Period, by: list[str], daily: bool) -> list[list[Any]]:
    """Return rows of day, keys, number of jobs and amounts. The day is 0 where none is asked for."""
    keys = [*([DaySum.day] if daily else []), *(KEYS[name] for name in by)]
    names = [f"{name}_{'uj' if name in ENERGIES else 'ug'}" for name in (*ENERGIES, *MASSES)]
    columns = [known(getattr(DaySum, f"{name}_jobs"), getattr(DaySum, name)) for name in names]
    sums = [part for column in columns for part in exact_parts(column)]
    query = select(*keys, func.sum(DaySum.jobs), *sums).join(Association, Association.id == DaySum.association_id)
    query = query.join(Cluster, Cluster.id == Association.cluster_id)
    query = query.where(DaySum.day >= period.start, DaySum.day < period.end).group_by(*keys)
    found = []
    for row in ask(session, query, {}):
        day, rest = (int(row[0]), row[1:]) if daily else (0, row)
        count, parts = rest[len(by)], rest[len(by) + 1 :]
        amounts = [exact_whole(parts[at : at + 2]) for at in range(0, len(parts), 2)]
        if count is not None:
            found.append([day, *rest[: len(by)], int(count), *amounts])
    return found


def _begin(period: Period, day: int, freq: str) -> int:
    local = period.local(day)
    if freq == "MS":
        local = local.replace(day=1)
    elif freq == "YS":
        local = local.replace(month=1, day=1)
    return int(local.timestamp())
