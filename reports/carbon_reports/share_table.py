# SPDX-License-Identifier: MIT
"""Makes the tables of users, accounts and runs: one unit a column, sorted by a column that is shown, the first 25 rows."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from carbon_acct.client import fields
from carbon_acct.client.safe_text import visible
from carbon_acct.known import sum_known

from . import charts
from .numbers import covered, fixed, grouped, percent
from .publish import file_stem
from .tables import MOST_ROWS, kg, kwh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .charts import Bar
    from .sums import Share, Total

SCREEN = fields.Screen()
MOST_NAME = 60
_known = lru_cache(fields.field)


class Row(NamedTuple):
    """A user or an account: name, page or an empty text, whether simulated, the cells, and the bar of its share."""

    name: str
    page: str
    simulated: bool
    cells: list[str]
    bar: Bar


class ShareTable(NamedTuple):
    """A table. `others`: the cells of the row for all that are left out, or an empty list."""

    head: list[str]
    rows: list[Row]
    left_out: int
    others: list[str]


def used(total: Total) -> int | None:
    """Return measured and estimated energy in microjoules."""
    return sum_known((total.energy_uj, total.estimated_uj))


def share_table(
    shares: Sequence[Share],
    folder: str,
    currency: str,
    spread: Mapping[str, int] | None = None,
) -> ShareTable:
    """Return the shares with the most energy. `folder`: where their pages are, or an empty text: no links."""
    first, rest = shares[:MOST_ROWS], shares[MOST_ROWS:]
    if len(rest) == 1:
        first, rest = shares, []
    totals = [share.total for share in first]
    several = len(rest) > 0

    def column(of: Callable[[Total], int | None], text: Callable[[Sequence[int | None]], list[str]]) -> list[str]:
        values = [of(total) for total in totals]
        return text([*values, sum_known(of(share.total) for share in rest)] if several else values)

    every = list(shares)
    columns = [("Jobs", column(lambda t: t.jobs, lambda values: [grouped(v) for v in values]))]
    columns.append(("kWh", column(used, kwh)))
    if currency:
        columns.append((currency, column(lambda t: t.cost_u, money)))
    if any(share.total.estimated_uj for share in every):
        columns.append(("estimated, kWh", column(lambda t: t.estimated_uj, kwh)))
    columns.append(("kg CO₂e", column(lambda t: t.carbon_ug, kg)))
    if any(share.total.market_ug is not None for share in every):
        columns.append(("market-based, kg", column(lambda t: t.market_ug, kg)))
    if spread:
        with_site = [(share.total.carbon_ug or 0) + spread[share.label] for share in first]
        beyond = [sum((share.total.carbon_ug or 0) + spread[share.label] for share in rest)] if several else []
        columns.append(("with idle and system, kg", kg([*with_site, *beyond])))
    columns.append(("metered", [*(covered(t.coverage) for t in totals), *([""] if several else [])]))
    shown = [percent(share.percent) for share in first]
    columns.append(("share", [*shown, *([percent(_rest(rest))] if several else [])]))
    cells = [list(row) for row in zip(*(texts for _, texts in columns), strict=True)]
    drawn = charts.bars([share.percent for share in first])
    made = [
        Row(
            visible(share.label),
            f"{folder}/{file_stem(share.label)}.html" if folder else "",
            share.total.simulated,
            row,
            bar,
        )
        for share, row, bar in zip(first, cells, drawn, strict=False)
    ]
    return ShareTable([name for name, _ in columns], made, len(rest), cells[-1] if several else [])


def _rest(shares: Sequence[Share]) -> float | None:
    known = [share.percent for share in shares if share.percent is not None]
    return sum(known) if known else None


def money(values: Sequence[int | None]) -> list[str]:
    """Return a column of money: millionths as whole units with two decimals."""
    return [fixed(value, 1_000_000, 2) for value in values]


class JobTable(NamedTuple):
    """Runs: heads of texts and of numbers, and rows of both. `about`: whether any energy was estimated."""

    texts: list[str]
    numbers: list[str]
    rows: list[tuple[list[str], list[str]]]
    estimated: bool


def job_table(jobs: Sequence[Mapping[str, Any]], owner: bool, project: bool) -> JobTable:
    """Return runs as a table."""
    energies = [sum_known((job["energy_uj"], job["estimated_uj"])) for job in jobs]
    about = ["~" if job["estimated_uj"] else "" for job in jobs]
    numbers = zip(
        (_field(job, "Elapsed") for job in jobs), kwh(energies), kg([job["carbon_ug"] for job in jobs]), strict=True
    )
    texts = ["JobID", "JobName", *["User"] * owner, *["Account"] * project, "State", "Quality"]
    rows = []
    for job, mark, (elapsed, kwh_, kg_) in zip(jobs, about, numbers, strict=True):
        who = [*[visible(job["owner"])] * owner, *[visible(job["project"])] * project]
        cells = [
            _field(job, "JobID"),
            _short(_field(job, "JobName")),
            *who,
            _field(job, "State"),
            _field(job, "Quality"),
        ]
        rows.append((cells, [elapsed, mark + kwh_, mark + kg_]))
    return JobTable(texts, ["Elapsed", "kWh", "kg CO₂e"], rows, any(about))


def _field(job: Mapping[str, Any], name: str) -> str:
    return _known(name).show(job, SCREEN) or "–"


def _short(name: str) -> str:
    return name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…"
