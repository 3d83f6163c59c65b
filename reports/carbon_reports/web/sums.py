# SPDX-License-Identifier: MIT
"""The views of sums: months of a year, days of a month, accounts, and the users of an account. The database sums, by the
code behind GET /v1/usage.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from carbon_acct.known import sum_known
from carbon_acct.queries.period import Period, period
from carbon_acct.queries.usage import Figures, Usage, usage
from carbon_collector.units import UJ_PER_KWH

from .. import charts
from ..numbers import KG, grouped
from ..tables import column
from . import commands
from .parts import Cell, Head, Link, Table, View, href

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from .asked import Asked

SORTS = ("jobs", "energy", "carbon")
COLUMNS = (
    ("jobs", "Jobs", 0),
    ("energy", "Energy, kWh", UJ_PER_KWH),
    ("estimated", "of it estimated, kWh", UJ_PER_KWH),
    ("carbon", "kg CO₂e", KG),
)
"""The columns of numbers: their names, heads and units. That of estimated energy is left out where there is none."""
FIRST_YEAR, LAST_YEAR = 1971, 9997
HOME = "./"


class Kind(NamedTuple):
    """A table of sums: what a row is called, where the row and the sorted page lead, and whether it has a total."""

    word: str
    row: Callable[[str], str]
    sorted_by: Callable[[str], str]


def months(session: Session, asked: Asked) -> View:
    """Return the caller's months of a year."""
    this = asked.month("this").first.year
    year = asked.number("year", FIRST_YEAR, LAST_YEAR, this)
    window = period(f"{date(year, 1, 1)}", f"{date(year + 1, 1, 1)}", asked.now, asked.days)
    found = usage(session, asked.own(), window, asked.days, ["month"], waste=False)
    kind = Kind("Month", lambda key: href("month", month=key), lambda sort: href(HOME, year=str(year), sort=sort))
    years = ((f"← {year - 1}", year - 1), (f"{year + 1} →", year + 1))
    beside = [Link(text, href(HOME, year=f"{at}")) for text, at in years if FIRST_YEAR <= at <= this]
    accounts = Link("Accounts", href("accounts"))
    return _view(f"Your months of {year}", commands.months(year), asked, found, kind, [], [*beside, accounts])


def days(session: Session, asked: Asked) -> View:
    """Return the caller's days of a month."""
    window = asked.month()
    month = f"{window.first:%Y-%m}"
    found = usage(session, asked.own(), window, asked.days, ["day"], waste=False)
    kind = Kind("Day", lambda key: href("day", day=key), lambda sort: href("month", month=month, sort=sort))
    trail = [Link("Your months", href(HOME, year=f"{window.first.year}"))]
    beside = [
        *_neighbours(window, asked, lambda near: href("month", month=near)),
        Link("Accounts", href("accounts", month=month)),
    ]
    return _view(f"Your days of {window.first:%B %Y}", commands.days(month), asked, found, kind, trail, beside)


def accounts(session: Session, asked: Asked) -> View:
    """Return the caller's accounts in a month: those of the caller's jobs and those that the caller coordinates; for an
    operator all. Of each what the caller may see.
    """
    window = asked.month()
    month = f"{window.first:%Y-%m}"
    names: list[str] = []
    if not asked.viewer.operator:
        mine = usage(session, asked.own(), window, asked.days, ["account"], waste=False)
        names = sorted({row.key[0] for row in mine.rows if row.key[0]} | asked.viewer.accounts)
    anything = bool(names) or asked.viewer.operator
    filters = asked.all(accounts=names) if anything else asked.own()
    found = usage(session, filters, window, asked.days, ["account"], waste=False)
    kind = Kind(
        "Account",
        lambda key: href("account", name=key, month=month),
        lambda sort: href("accounts", month=month, sort=sort),
    )
    command = commands.accounts(month, names) if anything else commands.days(month)
    beside = _neighbours(window, asked, lambda near: href("accounts", month=near))
    trail = [Link("Your months", href(HOME, year=f"{window.first.year}"))]
    return _view(f"Your accounts in {window.first:%B %Y}", command, asked, found, kind, trail, beside)


def users(session: Session, asked: Asked) -> View:
    """Return the users of an account in a month, as far as the caller may see their jobs."""
    window, name = asked.month(), asked.word("name")
    month = f"{window.first:%Y-%m}"
    found = usage(session, asked.all(accounts=[name]), window, asked.days, ["user"], waste=False)
    kind = Kind("User", lambda _: "", lambda sort: href("account", name=name, month=month, sort=sort))
    beside = _neighbours(window, asked, lambda near: href("account", name=name, month=near))
    trail = [Link("Your accounts", href("accounts", month=month))]
    title = f"Account {name} in {window.first:%B %Y}"
    return _view(title, commands.users(month, name), asked, found, kind, trail, beside)


def _neighbours(window: Period, asked: Asked, to: Callable[[str], str]) -> list[Link]:
    """Return links to the month before and, if it has begun, the month after."""
    before = window.first - timedelta(days=1)
    found = [Link(f"← {before:%B %Y}", to(f"{before:%Y-%m}"))] if before.year >= FIRST_YEAR else []
    if window.until <= asked.today():
        found.append(Link(f"{window.until:%B %Y} →", to(f"{window.until:%Y-%m}")))
    return found


def _view(
    title: str, command: str, asked: Asked, found: Usage, kind: Kind, trail: list[Link], beside: list[Link]
) -> View:
    shown = table(asked, found, kind) if found.rows else None
    notes = [] if shown else ["There are no jobs that you may see here."]
    return View(title, command, trail, beside, table=shown, notes=notes, simulated=found.total.figures.simulated)


def table(asked: Asked, found: Usage, kind: Kind) -> Table:
    """Return the table of sums, sorted by key or by what the address says, largest first."""
    sort = asked.choice("sort", SORTS)
    rows = found.rows
    if sort:
        rows = sorted(rows, key=lambda row: (-(_amount(row.figures, sort) or 0), row.key[0] or ""))
    figures = [row.figures for row in [*rows, found.total]]
    firsts = [Cell(row.key[0] or "none", href=kind.row(row.key[0]) if row.key[0] else "") for row in rows]
    lines = [[first] for first in [*firsts, Cell("all")]]
    heads = [Head(kind.word, href=kind.sorted_by(""), sorted="" if sort else "ascending")]
    for name, text, unit in COLUMNS:
        amounts = [_amount(one, name) for one in figures]
        if name == "estimated" and not any(amounts):
            continue
        link = kind.sorted_by(name) if name in SORTS else ""
        heads.append(Head(text, number=True, href=link, sorted="descending" if name == sort else ""))
        texts = column(amounts, unit) if unit else [grouped(amount) for amount in amounts]
        for line, said, amount in zip(lines, texts, amounts, strict=True):
            line.append(Cell(said, amount, number=True))
    used = [_amount(row.figures, "energy") for row in rows]
    drawn = charts.bars([None if uj is None else uj / UJ_PER_KWH for uj in used])
    caption = "Energy includes what was estimated; the bars show it. –: not known."
    return Table(caption, heads, lines[:-1], lines[-1], drawn)


def _amount(figures: Figures, name: str) -> int | None:
    if name == "jobs":
        return figures.jobs
    if name == "energy":
        return sum_known((figures["energy_uj"], figures["estimated_uj"]))
    return figures["estimated_uj" if name == "estimated" else "carbon_ug"]
