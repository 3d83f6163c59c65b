# SPDX-License-Identifier: MIT
"""Writes a report: what the site, each user and each account consumed and emitted, and how that is known."""

from __future__ import annotations

import gc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import charts, day_sums, digest, drawings, files, navigation, part_page, pdf, site_page, sums
from .about import about as about_it
from .about import logo, target_kg
from .facts import Most, all_runs, open_existing, read_period
from .heat import heat
from .history import Amounts
from .job_lists import write_lists
from .pages import render
from .publish import OutputError, file_stem, group_of, replaced
from .share_table import job_table, share_table

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from markupsafe import Markup
    from sqlalchemy.orm import Session

    from carbon_collector.settings import Settings

    from .day_sums import Sums
    from .facts import Facts, Job
    from .period import Period
    from .sums import Part

TOP_JOBS, PAPER_JOBS = 20, 10
"""The number of runs on the site's page, and on its PDF."""
MOST_JOBS = 20
CHUNKS = 8
"""The number of parts in which the pages of users and accounts are written: enough that two processes end together."""


@dataclass(frozen=True)
class Kind:
    """The two kinds of pages beside the site's: users and accounts. A page of an account links to none of a user."""

    folder: str
    word: str
    column: str
    place: int
    other_folder: str
    other_word: str
    other_column: str
    links: str


USERS = Kind("users", "User", "owner", 0, "accounts", "Account", "project", "../accounts")
ACCOUNTS = Kind("accounts", "Account", "project", 1, "users", "User", "owner", "")
NAMED = {"users": (USERS, ACCOUNTS), "accounts": (ACCOUNTS,), "none": ()}
"""The kinds of pages, by `[reports] names`."""

Work = tuple[Kind, str, "Sequence[Part]", "list[Job]"]
"""An owner or a project, its parts, and its runs that are shown."""


@dataclass(frozen=True)
class Wanted:
    """What is to be written: which formats, whether all runs are listed, and which pages also become PDFs."""

    formats: Collection[str]
    lists: bool
    pdf: Collection[str] = ("site",)


@dataclass(frozen=True)
class Report:
    """What all pages of a report share."""

    facts: Facts
    period: Period
    now: int
    about: dict[str, Any]
    wanted: Wanted
    target_kg: float | None
    templates: str
    output: Path

    def links(self, *inside: str) -> Markup:
        """Return the links of a page to other reports."""
        return navigation.links(self.output, self.period, Path(*inside))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds of pages that the site lets a report have."""
        return NAMED[self.about["names"]]

    @property
    def lists(self) -> bool:
        """Return whether runs are listed: only where users may be named."""
        return self.wanted.lists and USERS in self.kinds


def write_report(settings: Settings, period: Period, output: Path, wanted: Wanted, now: int) -> Path:
    """Write the report into a folder of `output` and return its main file, or the folder if there are no pages.

    Raises DatabaseError, SettingsError and OutputError; an earlier report of the period then stays as it is.
    """
    if "parquet" in wanted.formats and not (find_spec("pandas") and find_spec("pyarrow")):
        raise OutputError("--format parquet: pandas and pyarrow are not there: pip install 'carbon-acct[frames]'")
    group = group_of(settings.text("reports", "readers"))
    templates, target, picture = settings.text("reports", "templates"), target_kg(settings), logo(settings)
    picture_address = picture.address if picture else ""
    database = open_existing(settings)
    folder = output / period.name
    html = not {"html", "pdf"}.isdisjoint(wanted.formats)
    most = Most(TOP_JOBS, MOST_JOBS) if html else Most(0, 0)
    try:
        with database.read() as session:
            # The database's work is not Python's: what prints PDFs is loaded meanwhile.
            with ThreadPoolExecutor(1) as beside:
                loaded = beside.submit(pdf.need) if "pdf" in wanted.formats else None
                facts = read_period(settings, database, session, period, most, now)
                if loaded:
                    loaded.result()
            about = about_it(settings, period, facts, now)
            made = digest.writing(about["written"], _figures(facts, period, now, NAMED[about["names"]]))
            old = digest.read(folder)
            about |= {"digest": made.digest, "changes": digest.changes(old, made)}
            about["changed"] = old is not None and old["digest"] != made.digest
            report = Report(facts, period, now, about, wanted, target, templates, output)
            with replaced(folder, group) as fresh:
                reasons = site_page.provisional(facts, sums.total(facts.parts))
                open_ = bool(reasons) or not about["complete"]
                digest.save(fresh, made, {"title": period.title, "provisional": open_})
                _write_all(fresh, report, picture_address, session)
                if report.lists and not {"csv", "json"}.isdisjoint(wanted.formats):
                    write_lists(fresh, all_runs(session, period, now), period, wanted.formats)
    finally:
        database.close()
    try:
        navigation.link(output, period, about["site"], group, templates)
    except OSError as err:
        raise OutputError(f"{err.filename or output}: {err.strerror}; the report itself is in {folder}") from err
    return folder / "index.html" if "html" in wanted.formats else folder


def _figures(facts: Facts, period: Period, now: int, kinds: Collection[Kind]) -> dict[str, Any]:
    """Return the figures that make up the digest, as exact texts."""
    found: dict[str, Any] = {"period": period.name, "total": _texts(sums.total(facts.parts))}
    for kind in kinds:
        found[kind.folder] = {s.label: list(_texts(s.total).values()) for s in sums.shares(facts.parts, kind.column)}
    days = drawings.buckets(facts, period, now, long=False)
    names = ("energy_uj", "estimated_uj", "carbon_ug", "market_ug")
    found["days"] = {
        day.label: [*(_text(getattr(day.jobs, n)) for n in names), *map(_text, day.beside)] for day in days
    }
    return found


def _texts(total: sums.Total) -> dict[str, str | None]:
    names = ("jobs", "energy_uj", "estimated_uj", "facility_uj", "carbon_ug", "market_ug", "cost_u")
    return {name: _text(getattr(total, name)) for name in names}


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


class Shared(NamedTuple):
    """What a process that writes has from its parent: also the owners and projects, the period before, and the logo."""

    folder: Path
    report: Report
    work: list[Work]
    before: tuple[dict[str, Amounts], ...]
    picture: str


_inherited: list[Shared] = []
SELDOM = 100_000, 20, 100
"""How many objects a process that writes makes before Python looks for cycles: it took a quarter of the time of a PDF."""


def _inherit(shared: Shared) -> None:
    _inherited.append(shared)
    gc.set_threshold(*SELDOM)


def _write_all(folder: Path, report: Report, picture: str, session: Session) -> None:
    facts, shown = report.facts, {"owner": report.facts.shown.owner, "project": report.facts.shown.project}
    work: list[Work] = []
    for kind in report.kinds:
        (folder / kind.folder).mkdir()
        parts = sums.by(facts.parts, kind.column)
        work += [(kind, label, some, shown[kind.column].get(label, [])) for label, some in parts.items()]
    before = tuple(drawings.earlier(facts.before, place) for place in (0, 1))
    formats = report.wanted.formats
    # A fork, because a new process would import for longer than this takes; frozen, what it shares stays shared. What
    # all of them need is inherited: sending it to each took as long as writing the pages.
    gc.freeze()
    shared = Shared(folder, report, work, before, picture)
    with ProcessPoolExecutor(2, get_context("fork"), initializer=_inherit, initargs=(shared,)) as cpus:
        # What takes longest begins first.
        done = [cpus.submit(_print_site)] if "pdf" in formats and "site" in report.wanted.pdf else []
        done += [cpus.submit(_write_site)]
        if "parquet" in formats:
            by = [name for name, kind in (("user", USERS), ("account", ACCOUNTS)) if kind in report.kinds]
            keys = ["cluster", *by]
            done += [cpus.submit(_write_parquet, keys, day_sums.read(session, report.period, keys, "D"))]
        done += [cpus.submit(_write_parts, at) for at in range(CHUNKS)]
        for each in done:
            each.result()


def _write_parquet(keys: list[str], found: Sums) -> None:
    """Write the sums by day, and by those keys that the site lets a report name."""
    from . import data  # noqa: PLC0415  pandas takes a second that other formats do not need

    (shared,) = _inherited
    data.write_parquet(shared.folder / "usage.parquet", data.frame_of(found, shared.report.period, keys, "D"))


def _write_parts(at: int) -> None:
    """Write one of CHUNKS parts of the pages of users and accounts."""
    ((folder, report, work, before, picture),) = _inherited
    for kind, label, parts, jobs in work[at::CHUNKS]:
        then = before[kind.place].get(label, Amounts())
        _write_part(folder / kind.folder, report, kind, label, parts, jobs, then, picture)


class Site(NamedTuple):
    """The sums of the site: its total, its users and accounts by kind, and idle and system carbon spread over each."""

    total: sums.Total
    shares: dict[Kind, list[sums.Share]]
    spreads: dict[Kind, dict[str, int]]
    simulated: bool


def _site(report: Report) -> Site:
    facts = report.facts
    total = sums.total(facts.parts)
    shares = {kind: sums.shares(facts.parts, kind.column) for kind in report.kinds}
    spread = sums.spread_ug(facts.energy, list(shares.values())) if report.about["spread"] else []
    spreads = dict(zip(shares, spread, strict=True)) if spread else {}
    return Site(total, shares, spreads, total.simulated or facts.conservation.simulated)


def _site_page(report: Report, site: Site, picture: str, paper: bool) -> str:
    facts, about, wanted = report.facts, report.about, report.wanted
    currency, linked = about["currency"], "html" in wanted.formats
    jobs = (facts.shown.site if USERS in report.kinds else [])[: PAPER_JOBS if paper else None]
    listed = [*(["jobs"] if report.lists else []), *(kind.folder for kind in site.shares)]
    height = charts.PAPER_HEIGHT if paper else charts.HEIGHT
    page = site_page.view(facts, report.period, report.now, site.total, currency, report.target_kg, height)
    page |= {"about": about | {"logo": picture}, "total": site.total, "simulated": site.simulated}
    page["shares"] = [
        (kind, share_table(found, kind.folder if linked else "", currency, site.spreads.get(kind)))
        for kind, found in site.shares.items()
    ]
    page |= {"jobs": job_table(jobs, owner=True, project=True), "spread": bool(site.spreads)}
    page |= {} if report.kinds else {"projects": None}
    page["csv"] = [*listed, "days", "months", "hours", "waste"] if "csv" in wanted.formats else []
    page |= {"paper": paper, "links": "" if paper else report.links("index.html")}
    return render("site.html.j2", page, report.templates)


def _print_site() -> None:
    (shared,) = _inherited
    page = _site_page(shared.report, _site(shared.report), shared.picture, paper=True)
    pdf.write(page, shared.folder / "report.pdf")


def _write_site() -> None:
    (shared,) = _inherited
    folder, report = shared.folder, shared.report
    facts, period, now, about, wanted = report.facts, report.period, report.now, report.about, report.wanted
    site = _site(report)
    total, shares, spreads, simulated = site
    days = sums.by_day(facts.parts, period.borders(), now)
    if "html" in wanted.formats:
        _write(folder / "index.html", _site_page(report, site, shared.picture, paper=False))
    if "csv" in wanted.formats:
        for kind, found in shares.items():
            _write(folder / f"{kind.folder}.csv", files.shares_csv(kind.word, found, about["currency"]))
        buckets = drawings.buckets(facts, period, now, long=False)
        _write(folder / "days.csv", files.days_csv(days, buckets, period))
        _write(folder / "months.csv", files.months_csv(facts.history, period))
        _write(folder / "hours.csv", files.hours_csv(heat(facts.history.slots, period, now)))
        _write(folder / "waste.csv", files.waste_csv(facts.wasted))
        if report.lists:
            _write(folder / "jobs.csv", files.jobs_head())
    if "json" in wanted.formats:
        balance = {name: _balance(part) for name, part in facts.conservation.components.items()}
        content = {"meta": about, "simulated": simulated, "total": total}
        content |= {kind.folder: found for kind, found in shares.items()}
        content |= {"energy": facts.energy._asdict()}
        content |= {"spread": {kind.folder: found for kind, found in spreads.items()}} if spreads else {}
        content |= {"waste": [each._asdict() for each in facts.wasted], "days": days, "conservation": balance}
        _write(folder / "report.json", _json(content, report))


def _write_part(
    folder: Path,
    report: Report,
    kind: Kind,
    label: str,
    parts: Sequence[Part],
    jobs: list[Job],
    before: Amounts,
    picture: str,
) -> None:
    period, now, about, wanted = report.period, report.now, report.about, report.wanted
    total = sums.total(parts)
    names_others = kind is USERS or USERS in report.kinds
    others = sums.shares(parts, kind.other_column) if names_others else []
    days = sums.by_day(parts, period.borders(), now)
    stem = file_stem(label)
    lists_csv = report.lists and "csv" in wanted.formats
    as_pdf = "pdf" in wanted.formats and kind.folder in wanted.pdf
    if "html" in wanted.formats or as_pdf:
        then, _ = period.compared(now)
        whose = f"the jobs of {'user' if kind is USERS else 'account'} {label}"
        shown = jobs if names_others else []
        page = part_page.view(
            whose, period, then, total, before, others, kind.links, shown, kind is ACCOUNTS, days, about["currency"]
        )
        page |= {"about": about | {"logo": picture}, "kind": kind, "label": label, "total": total}
        page |= {"simulated": total.simulated, "csv": f"{stem}.csv" if lists_csv else "", "paper": False}
        page |= {"links": report.links(kind.folder, f"{stem}.html")}
        if "html" in wanted.formats:
            _write(folder / f"{stem}.html", render("part.html.j2", page, report.templates))
        if as_pdf:
            page |= {"paper": True, "csv": "", "links": ""}
            pdf.write(render("part.html.j2", page, report.templates), folder / f"{stem}.pdf")
    if lists_csv:
        _write(folder / f"{stem}.csv", files.jobs_head())
    if "json" in wanted.formats:
        content = {"meta": about, kind.word.lower(): label, "simulated": total.simulated, "total": total}
        content |= {kind.other_folder: others, "days": days}
        _write(folder / f"{stem}.json", _json(content, report))


def _json(content: dict[str, Any], report: Report) -> str:
    return files.json_begin(content, then="jobs") if report.lists else files.as_json(content)


def _balance(part: Any) -> dict[str, int]:
    return {**vars(part), "difference_uj": part.difference_uj}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")
