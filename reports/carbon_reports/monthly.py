# SPDX-License-Identifier: MIT
"""The monthly report: what the site, each user and each account consumed and emitted, and how that is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from carbon_collector import __version__

from . import pages, sums, tables
from .folder import file_stem, replaced
from .gather import gather

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pandas as pd

    from carbon_collector.settings import Settings

    from .gather import MonthFacts
    from .month import Month

TOP_JOBS = 20
MOST_JOBS = 200  # a page stays readable; the CSV has all of them


@dataclass(frozen=True)
class Kind:
    """The two kinds of pages beside the site's: users and accounts."""

    folder: str
    word: str
    column: str
    other_folder: str
    other_word: str
    other_column: str


USERS = Kind("users", "User", "owner", "accounts", "Account", "project")
ACCOUNTS = Kind("accounts", "Account", "project", "users", "User", "owner")


def write_monthly(settings: Settings, month: Month, output: Path, formats: Collection[str], now: int) -> Path:
    """Write the report into `output`/YYYY-MM and return its main file, or the folder if there are no pages.

    Raises DatabaseError and OutputError; an earlier report of the month then stays as it is.
    """
    facts = gather(settings, month)
    about = _about(settings, month, facts, now)
    folder = output / month.name
    with replaced(folder) as fresh:
        _write_site(fresh, facts, month, about, formats, now)
        for kind in (USERS, ACCOUNTS):
            (fresh / kind.folder).mkdir()
            for label, jobs in facts.jobs.groupby(kind.column, sort=False):
                days = facts.days[facts.days[kind.column] == label]
                _write_part(fresh / kind.folder, kind, str(label), jobs, days, month, about, formats, now)
    return folder / "index.html" if "html" in formats else folder


def _about(settings: Settings, month: Month, facts: MonthFacts, now: int) -> dict[str, Any]:
    """What every page says about itself: for what, when, from what, at which price."""
    site = settings.text("site", "name") or settings.text("site", "cluster")
    return {
        "site": site or ", ".join(sums.distinct(facts.jobs, "cluster")) or "this site",
        "month": month.name,
        "start": month.moment(month.start),
        "end": month.moment(month.end),
        "timezone": str(month.zone),
        "written": month.moment(now),
        "complete": month.end <= now,
        "clusters": sums.distinct(facts.jobs, "cluster"),
        "zones": sums.distinct(facts.jobs, "zone") or [settings.text("site", "zone")],
        "pue": sums.distinct(facts.jobs, "pue") or [settings.text("site", "pue")],
        "sources": sums.distinct(facts.jobs, "intensity_source"),
        "market_source": settings.text("grid", "market_source") if settings.text("grid", "market") else "",
        "spread": settings.text("reports", "spread") == "energy",
        "version": __version__,
    }


def _write_site(
    folder: Path, facts: MonthFacts, month: Month, about: dict[str, Any], formats: Collection[str], now: int
) -> None:
    total = sums.total(facts.jobs)
    users, accounts = (sums.shares(facts.jobs, kind.column) for kind in (USERS, ACCOUNTS))
    days = sums.by_day(facts.days, month.borders(), now)
    simulated = total.simulated or facts.conservation.simulated
    spread = sums.spread_ug(facts.energy, (users, accounts)) if about["spread"] else []
    if "html" in formats:
        page = {
            "about": about,
            "total": total,
            "simulated": simulated,
            "shares": [(USERS, users), (ACCOUNTS, accounts)],
            "days": [(month.day(day.date_start), day) for day in days],
            "jobs": sums.greatest(facts.jobs, TOP_JOBS).to_dict("records"),
            "conservation": facts.conservation,
            "energy": facts.energy,
            "spread": spread,
            "unmatched_uj": sums.unmatched_uj(facts.conservation, total),
            "csv": "csv" in formats,
        }
        _write(folder / "index.html", pages.render("site.html.j2", page))
    if "csv" in formats:
        _write(folder / "jobs.csv", tables.jobs_csv(facts.jobs, month))
        _write(folder / "users.csv", tables.shares_csv("User", users))
        _write(folder / "accounts.csv", tables.shares_csv("Account", accounts))
        _write(folder / "days.csv", tables.days_csv(days, month))
    if "json" in formats:
        balance = {name: _balance(part) for name, part in facts.conservation.components.items()}
        content = {"meta": about, "simulated": simulated, "total": total, "users": users, "accounts": accounts}
        content |= {"energy": {name: asdict(part) for name, part in facts.energy._asdict().items()}}
        content |= {"spread": dict(zip(("users", "accounts"), spread, strict=True))} if spread else {}
        content |= {"days": days, "conservation": balance, "jobs": tables.job_dicts(facts.jobs)}
        _write(folder / "report.json", tables.as_json(content))


def _write_part(
    folder: Path,
    kind: Kind,
    label: str,
    jobs: pd.DataFrame,
    day_rows: pd.DataFrame,
    month: Month,
    about: dict[str, Any],
    formats: Collection[str],
    now: int,
) -> None:
    total = sums.total(jobs)
    others = sums.shares(jobs, kind.other_column)
    days = sums.by_day(day_rows, month.borders(), now)
    stem = file_stem(label)
    if "html" in formats:
        page = {
            "about": about,
            "kind": kind,
            "label": label,
            "total": total,
            "simulated": total.simulated,
            "others": others,
            "days": [(month.day(day.date_start), day) for day in days],
            "jobs": sums.greatest(jobs, MOST_JOBS).to_dict("records"),
            "csv": f"{stem}.csv" if "csv" in formats else "",
        }
        _write(folder / f"{stem}.html", pages.render("part.html.j2", page))
    if "csv" in formats:
        _write(folder / f"{stem}.csv", tables.jobs_csv(jobs, month))
    if "json" in formats:
        content = {"meta": about, kind.word.lower(): label, "simulated": total.simulated, "total": total}
        content |= {kind.other_folder: others, "days": days, "jobs": tables.job_dicts(jobs)}
        _write(folder / f"{stem}.json", tables.as_json(content))


def _balance(part: Any) -> dict[str, int]:
    return {**asdict(part), "difference_uj": part.difference_uj}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")
