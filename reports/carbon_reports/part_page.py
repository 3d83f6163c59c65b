# SPDX-License-Identifier: MIT
"""Makes what the page of a user or an account shows: a sentence, cards, a table, its runs and its days. The light form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carbon_acct.known import sum_known
from carbon_collector.units import UJ_PER_KWH

from . import charts, sentences
from .change import change
from .drawings import Bars
from .history import Amounts
from .numbers import carbon, covered, energy, grouped, percent
from .share_table import job_table, money, share_table, used
from .site_page import Card, intensity, on
from .sums import percent_of
from .tables import kg, kwh, rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .facts import Job
    from .period import Period
    from .sums import Day, Share, Total


def view(
    whose: str,
    period: Period,
    then: Period,
    total: Total,
    before: Amounts,
    others: Sequence[Share],
    other_folder: str,
    jobs: Sequence[Job],
    owner: bool,
    days: Sequence[Day],
    currency: str,
) -> dict[str, Any]:
    """Return what the template shows. `before`: the sums of the period before. `owner`: whether runs name their users."""
    amounts = Amounts(
        energy_uj=total.energy_uj,
        estimated_uj=total.estimated_uj,
        facility_uj=total.facility_uj,
        carbon_ug=total.carbon_ug,
        market_ug=total.market_ug,
    )
    return {
        "lead": sentences.emitted(period, then, whose, amounts, change(before, amounts)),
        "cards": cards(total, amounts, before, then, currency),
        "others": share_table(others, other_folder, currency),
        "jobs": job_table(jobs, owner=owner, project=not owner),
        "days": _days(days, period),
    }


def cards(total: Total, amounts: Amounts, before: Amounts, then: Period, currency: str) -> list[Card]:
    """Return the cards of a user or an account."""
    paid = [f"{money([total.cost_u])[0]} {currency}, facility energy"] if total.cost_u is not None else []
    market = (
        on(amounts.market_ug, before.market_ug, then) if amounts.market_ug is not None else "not stated by the site"
    )
    g_per_kwh = intensity(amounts)
    measured = percent_of(total.energy_uj or 0, used(total))
    return [
        Card("Carbon, location-based", carbon(total.carbon_ug), [on(total.carbon_ug, before.carbon_ug, then)]),
        Card("Carbon, market-based", carbon(total.market_ug), [market]),
        Card("Energy", energy(used(total)), [*paid, on(used(total), before.used_uj, then)]),
        Card("Jobs", grouped(total.jobs), [f"{covered(total.coverage)} of their node-time was metered"]),
        Card("Grid, weighted by use", "–" if g_per_kwh is None else f"{g_per_kwh:.0f}\u202fg/kWh", []),
        Card(
            "Measured, not estimated",
            "–" if measured is None else percent(int(measured * 10) / 10),
            [f"{energy(total.estimated_uj or 0)} estimated"],
        ),
    ]


def _days(days: Sequence[Day], period: Period) -> Bars:
    long = period.is_long
    merged = (
        _by_month(days, period)
        if long
        else [(period.day(day.date_start), day.jobs, day.used_uj, day.carbon_ug) for day in days]
    )
    labels, jobs, energies, carbons = (list(column) for column in zip(*merged, strict=True))
    cells = rows(labels, [grouped(count) for count in jobs], kwh(energies), kg(carbons))
    drawn = charts.bars([None if uj is None else uj / UJ_PER_KWH for uj in energies])
    return Bars(
        "Days", ["Month" if long else "Day", "Jobs", "kWh", "kg CO₂e"], list(zip(cells, drawn, strict=True)), ""
    )


def _by_month(days: Sequence[Day], period: Period) -> list[tuple[str, int, int | None, int | None]]:
    """Return the sums of each month. A job counts in every day on which it ran, and so it does here."""
    found: dict[str, list[Day]] = {}
    for day in days:
        found.setdefault(period.day(day.date_start)[:7], []).append(day)
    return [
        (
            name,
            sum(day.jobs for day in many),
            sum_known(day.used_uj for day in many),
            sum_known(day.carbon_ug for day in many),
        )
        for name, many in found.items()
    ]
