# SPDX-License-Identifier: MIT
"""Reads what a month consisted of from the accounting database, in one consistent view.

Frames hold Python integers (dtype object): a big site's month exceeds 64 bits of microjoules, and a column
with an unknown value would otherwise turn into floating point.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from carbon_acct import query, totals
from carbon_acct.db.connect import is_sqlite, parse_urls
from carbon_acct.db.engine import open_database, url_of
from carbon_acct.errors import DatabaseError
from carbon_acct.finding import Filters
from carbon_acct.prices import load_prices
from carbon_acct.siteenergy import SiteEnergy, site_energy
from carbon_acct.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carbon_acct.totals import Conservation
    from carbon_collector.settings import Settings

    from .month import Month

NOBODY = "not known"


@dataclass(frozen=True)
class MonthFacts:
    """Everything a report is made of.

    `jobs`: a row a run of a job, with the keys of docs/http-api.md, cut to the month, and `owner` and `project`
    as labels. `days`: a row a day, owner and project. `conservation`: the nodes' meters and where their energy went. `energy`: what that emitted.
    """

    jobs: pd.DataFrame
    days: pd.DataFrame
    conservation: Conservation
    energy: SiteEnergy


def gather(settings: Settings, month: Month) -> MonthFacts:
    """Read the month from the site's database. Raises DatabaseError."""
    _must_exist(url_of(settings))
    prices, _ = load_prices(settings)
    database = open_database(settings)
    window = Window(month.start, month.end)
    try:
        with database.read() as session:
            runs = query.jobs(session, Filters(window=window, truncate=True, duplicates=True))
            days = totals.days(session, month.start, month.end)
            conservation = totals.conservation(session, window.start, window.end)
        energy = database.run(partial(site_energy, prices=prices, start=month.start, end=month.end))
    finally:
        database.close()
    return MonthFacts(
        jobs=job_frame(vars(run) for run in runs if _ran(vars(run), window)),
        days=_day_frame(asdict(day) for day in days),
        conservation=conservation,
        energy=energy,
    )


def job_frame(jobs: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame of jobs with the labels of their owner and their project."""
    columns = [*query.JobRecord.__dataclass_fields__, "owner", "project"]
    rows = [{**job, "owner": _owner(job), "project": job["account"] or NOBODY} for job in jobs]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def _day_frame(days: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    columns = [*totals.DayTotal.__dataclass_fields__, "owner", "project"]
    rows = [{**day, "owner": day["user"] or NOBODY, "project": day["account"] or NOBODY} for day in days]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def _ran(job: Mapping[str, Any], window: Window) -> bool:
    """Whether the job ran in the month: one that waited, or ended with the last month's last second, did not."""
    start, end = job["start"], job["end"]
    if job["energy_uj"] is not None or job["estimated_uj"] is not None:
        return True
    if start is None or start >= window.high:
        return False
    return end is None or end > window.low or start == end == window.low


def _owner(job: Mapping[str, Any]) -> str:
    if job["user"]:
        return str(job["user"])
    return NOBODY if job["uid"] is None else f"uid {job['uid']}"


def _must_exist(url: str) -> None:
    """A report must not make an empty database and call it the site's."""
    parsed = parse_urls(url)[0]
    if is_sqlite(parsed) and not Path(parsed.database or "").is_file():
        raise DatabaseError(
            f"{parsed.database}: no such database; is this the accounting host? carbon-aggregator makes it"
        )
