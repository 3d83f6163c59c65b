# SPDX-License-Identifier: MIT
"""The views of sums: months of a year, days of a month, accounts, and the users of an account. The database sums, by the
code behind GET /v1/usage.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from carbon_acct.known import sum_known
from carbon_acct.queries.period import Period, period
from carbon_acct.queries.usage import Figures, Usage, usage
from carbon_collector.units import UJ_PER_KWH

from ..numbers import KG, grouped
from ..tables import column
from . import commands
from .parts import Cell, Head, Link, Table, View, href

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session

    from .asked import Asked

SORTS = ("jobs", "energy", "carbon")
FIRST_YEAR, LAST_YEAR = 1971, 9997
HOME = "./"


class _Kind(NamedTuple):
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
    kind = _Kind("Month", lambda key: href("month", month=key), lambda sort: href(HOME, year=str(year), sort=sort))
    beside = [Link(f"{at}", href(HOME, year=f"{at}")) for at in (year - 1, year + 1) if FIRST_YEAR <= at <= this]
    accounts = Link("Accounts", href("accounts"))
    return _view(f"Your months of {year}", commands.months(year), asked, found, kind, [], [*beside, accounts])


def days(session: Session, asked: Asked) -> View:
    """Return the caller's days of a month."""
    window = asked.month()
    month = f"{window.first:%Y-%m}"
    found = usage(session, asked.own(), window, asked.days, ["day"], waste=False)
    kind = _Kind("Day", lambda key: href("day", day=key), lambda sort: href("month", month=month, sort=sort))
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
    kind = _Kind(
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
    kind = _Kind("User", lambda _: "", lambda sort: href("account", name=name, month=month, sort=sort))
    beside = _neighbours(window, asked, lambda near: href("account", name=name, month=near))
    trail = [Link("Your accounts", href("accounts", month=month))]
    title = f"Account {name} in {window.first:%B %Y}"
    return _view(title, commands.users(month, name), asked, found, kind, trail, beside)


def _neighbours(window: Period, asked: Asked, to: Callable[[str], str]) -> list[Link]:
    """Return links to the month before and, if it has begun, the month after."""
    before = asked.month(f"{date.fromordinal(window.first.toordinal() - 1):%Y-%m}")
    found = [Link(f"← {before.first:%B %Y}", to(f"{before.first:%Y-%m}"))]
    if window.until <= asked.today():
        found.append(Link(f"{window.until:%B %Y} →", to(f"{window.until:%Y-%m}")))
    return found


def _view(
    title: str, command: str, asked: Asked, found: Usage, kind: _Kind, trail: list[Link], beside: list[Link]
) -> View:
    table = _table(asked, found, kind) if found.rows else None
    notes = [] if table else ["There are no jobs that you may see here."]
    return View(title, command, trail, beside, table=table, notes=notes, simulated=found.total.figures.simulated)


def _table(asked: Asked, found: Usage, kind: _Kind) -> Table:
    sort = asked.choice("sort", SORTS)
    rows = found.rows
    if sort:
        rows = sorted(rows, key=lambda row: (-(_amount(row.figures, sort) or 0), row.key[0] or ""))
    figures = [row.figures for row in [*rows, found.total]]
    columns = _columns(figures)
    cells = [[column[at] for column in columns] for at in range(len(figures))]
    firsts = [Cell(row.key[0] or "none", href=kind.row(row.key[0]) if row.key[0] else "") for row in rows]
    heads = [Head(kind.word, href=kind.sorted_by(""), sorted="" if sort else "ascending")]
    for name, text in (
        ("jobs", "Jobs"),
        ("energy", "Energy, kWh"),
        ("", "of it estimated, kWh"),
        ("carbon", "kg CO₂e"),
    ):
        link = kind.sorted_by(name) if name else ""
        heads.append(Head(text, number=True, href=link, sorted="descending" if name and name == sort else ""))
    caption = "Energy is measured and estimated energy. –: not known."
    return Table(
        caption, heads, [[first, *line] for first, line in zip(firsts, cells, strict=False)], [Cell("all"), *cells[-1]]
    )


def _columns(figures: Sequence[Figures]) -> list[list[Cell]]:
    jobs = [Cell(grouped(one.jobs), one.jobs, number=True) for one in figures]
    found = [jobs]
    for name, unit in (("energy", UJ_PER_KWH), ("estimated", UJ_PER_KWH), ("carbon", KG)):
        amounts = [_amount(one, name) for one in figures]
        texts = column(amounts, unit)
        found.append([Cell(text, amount, number=True) for text, amount in zip(texts, amounts, strict=True)])
    return found


def _amount(figures: Figures, name: str) -> int | None:
    if name == "jobs":
        return figures.jobs
    if name == "energy":
        return sum_known((figures["energy_uj"], figures["estimated_uj"]))
    return figures["estimated_uj" if name == "estimated" else "carbon_ug"]
