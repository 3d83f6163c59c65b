# SPDX-License-Identifier: MIT
"""The monthly report: what the site, each user and each account consumed and emitted, and how that is known."""

from __future__ import annotations

import gc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from carbon_collector import __version__

from . import pages, sums, tables
from .job_lists import write_lists
from .month_facts import Most, all_runs, open_existing, read_month
from .publish import file_stem, replaced

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from carbon_collector.settings import Settings

    from .month import Month
    from .month_facts import Job, MonthFacts
    from .sums import Part

TOP_JOBS = 20
MOST_JOBS = 20


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


Work = tuple[Kind, str, "Sequence[Part]", "list[Job]"]
"""An owner or a project, its parts, and its runs that are shown."""


@dataclass(frozen=True)
class Wanted:
    """What is to be written: which of html, csv and json, and whether the latter two list all runs."""

    formats: Collection[str]
    lists: bool


def write_monthly(settings: Settings, month: Month, output: Path, wanted: Wanted, now: int) -> Path:
    """Write the report into `output`/YYYY-MM and return its main file, or the folder if there are no pages.

    Raises DatabaseError and OutputError; an earlier report of the month then stays as it is.
    """
    database = open_existing(settings)
    most = Most(TOP_JOBS, MOST_JOBS) if "html" in wanted.formats else Most(0, 0)
    folder = output / month.name
    try:
        with database.read() as session:
            facts = read_month(settings, database, session, month, most, now)
            with replaced(folder) as fresh:
                _write_all(fresh, facts, month, _about(settings, month, facts, now), wanted, now)
                if wanted.lists and not {"csv", "json"}.isdisjoint(wanted.formats):
                    write_lists(fresh, all_runs(session, month, now), month, wanted.formats)
    finally:
        database.close()
    return folder / "index.html" if "html" in wanted.formats else folder


def _about(settings: Settings, month: Month, facts: MonthFacts, now: int) -> dict[str, Any]:
    """Return what every page says about itself: site, time, sources and factors."""
    site = settings.text("site", "name") or settings.text("site", "cluster")
    return {
        "site": site or ", ".join(facts.clusters) or "this site",
        "month": month.name,
        "start": month.moment(month.start),
        "end": month.moment(month.end),
        "timezone": str(month.zone),
        "written": month.moment(now),
        "complete": month.end <= now,
        "clusters": facts.clusters,
        "zones": facts.zones or [settings.text("site", "zone")],
        "pue": facts.pue or [settings.text("site", "pue")],
        "sources": facts.sources,
        "market_source": settings.text("grid", "market_source") if settings.text("grid", "market") else "",
        "spread": settings.text("reports", "spread") == "energy",
        "version": __version__,
    }


def _write_all(folder: Path, facts: MonthFacts, month: Month, about: dict[str, Any], wanted: Wanted, now: int) -> None:
    work: list[Work] = []
    for kind, shown in ((USERS, facts.shown.owner), (ACCOUNTS, facts.shown.project)):
        (folder / kind.folder).mkdir()
        work += [
            (kind, label, parts, shown.get(label, [])) for label, parts in sums.by(facts.parts, kind.column).items()
        ]
    # A fork, because a new process would import for longer than this takes; frozen, what it shares stays shared.
    gc.freeze()
    with ProcessPoolExecutor(1, get_context("fork")) as other_cpu:
        half = other_cpu.submit(_write_parts, folder, work[::2], month, about, wanted, now)
        _write_site(folder, facts, month, about, wanted, now)
        _write_parts(folder, work[1::2], month, about, wanted, now)
        half.result()


def _write_parts(
    folder: Path, work: Sequence[Work], month: Month, about: dict[str, Any], wanted: Wanted, now: int
) -> None:
    for kind, label, parts, jobs in work:
        _write_part(folder / kind.folder, kind, label, parts, jobs, month, about, wanted, now)


def _write_site(folder: Path, facts: MonthFacts, month: Month, about: dict[str, Any], wanted: Wanted, now: int) -> None:
    total = sums.total(facts.parts)
    users, accounts = (sums.shares(facts.parts, kind.column) for kind in (USERS, ACCOUNTS))
    days = sums.by_day(facts.parts, month.borders(), now)
    simulated = total.simulated or facts.conservation.simulated
    spread = sums.spread_ug(facts.energy, (users, accounts)) if about["spread"] else []
    if "html" in wanted.formats:
        page = {
            "about": about,
            "total": total,
            "simulated": simulated,
            "shares": [(USERS, users), (ACCOUNTS, accounts)],
            "days": [(month.day(day.date_start), day) for day in days],
            "jobs": facts.shown.site,
            "conservation": facts.conservation,
            "energy": facts.energy,
            "spread": spread,
            "unmatched_uj": sums.unmatched_uj(facts.conservation, total),
            "csv": "csv" in wanted.formats,
            "lists": wanted.lists,
        }
        _write(folder / "index.html", pages.render("site.html.j2", page))
    if "csv" in wanted.formats:
        _write(folder / "users.csv", tables.shares_csv("User", users))
        _write(folder / "accounts.csv", tables.shares_csv("Account", accounts))
        _write(folder / "days.csv", tables.days_csv(days, month))
        if wanted.lists:
            _write(folder / "jobs.csv", tables.jobs_head())
    if "json" in wanted.formats:
        balance = {name: _balance(part) for name, part in facts.conservation.components.items()}
        content = {"meta": about, "simulated": simulated, "total": total, "users": users, "accounts": accounts}
        content |= {"energy": facts.energy._asdict()}
        content |= {"spread": dict(zip(("users", "accounts"), spread, strict=True))} if spread else {}
        content |= {"days": days, "conservation": balance}
        _write(folder / "report.json", _json(content, wanted))


def _write_part(
    folder: Path,
    kind: Kind,
    label: str,
    parts: Sequence[Part],
    jobs: list[Job],
    month: Month,
    about: dict[str, Any],
    wanted: Wanted,
    now: int,
) -> None:
    total = sums.total(parts)
    others = sums.shares(parts, kind.other_column)
    days = sums.by_day(parts, month.borders(), now)
    stem = file_stem(label)
    lists_csv = wanted.lists and "csv" in wanted.formats
    if "html" in wanted.formats:
        page = {
            "about": about,
            "kind": kind,
            "label": label,
            "total": total,
            "simulated": total.simulated,
            "others": others,
            "days": [(month.day(day.date_start), day) for day in days],
            "jobs": jobs,
            "csv": f"{stem}.csv" if lists_csv else "",
        }
        _write(folder / f"{stem}.html", pages.render("part.html.j2", page))
    if lists_csv:
        _write(folder / f"{stem}.csv", tables.jobs_head())
    if "json" in wanted.formats:
        content = {"meta": about, kind.word.lower(): label, "simulated": total.simulated, "total": total}
        content |= {kind.other_folder: others, "days": days}
        _write(folder / f"{stem}.json", _json(content, wanted))


def _json(content: dict[str, Any], wanted: Wanted) -> str:
    return tables.json_begin(content, then="jobs") if wanted.lists else tables.as_json(content)


def _balance(part: Any) -> dict[str, int]:
    return {**vars(part), "difference_uj": part.difference_uj}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")
