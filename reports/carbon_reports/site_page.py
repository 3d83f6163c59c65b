# SPDX-License-Identifier: MIT
"""Makes what the site's page shows: the head, cards, drawings, ratios, tables, and what makes its figures provisional."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from carbon_acct.client.safe_text import visible
from carbon_acct.client.units import UG_PER_G
from carbon_acct.known import sum_known
from carbon_collector.units import UJ_PER_KWH

from . import drawings, sentences
from .change import change
from .numbers import KG, NARROW_SPACE, UNKNOWN, carbon, energy, grouped, percent, three_digits, whole_percent
from .share_table import money
from .sums import percent_of
from .tables import Shown, kg, kwh, rows

if TYPE_CHECKING:
    from .change import Change
    from .facts import Facts
    from .held import Load
    from .history import Amounts
    from .period import Period
    from .sums import Total

S_PER_H = 3600
MOST_LATE = 10
"""The number of nodes that are named with what they changed of a closed month."""


class Card(NamedTuple):
    """A card: what it is, its figure, and lines below."""

    name: str
    value: str
    notes: list[str]


def cards(facts: Facts, period: Period, now: int, total: Total, currency: str) -> list[Card]:
    """Return the cards of the site's page."""
    others = period.compared(now)
    jobs, beside = facts.history.jobs(period), facts.history.beside(period)
    then = [(each, facts.history.jobs(each), facts.history.beside(each)) for each in others]
    whole = sum_known((jobs.used_uj, beside.energy_uj))
    return [
        Card(
            "Carbon, location-based",
            carbon(jobs.carbon_ug),
            [on(jobs.carbon_ug, a.carbon_ug, p) for p, a, _ in then],
        ),
        Card(
            "Carbon, market-based",
            carbon(jobs.market_ug),
            [on(jobs.market_ug, a.market_ug, p) for p, a, _ in then]
            if jobs.market_ug is not None
            else ["not stated by the site"],
        ),
        Card(
            "Energy of the jobs",
            energy(jobs.used_uj),
            [
                *([f"{money([total.cost_u])[0]} {currency}, facility energy"] if total.cost_u is not None else []),
                *(on(jobs.used_uj, a.used_uj, p) for p, a, _ in then),
            ],
        ),
        Card(
            "Idle and system",
            energy(beside.energy_uj),
            [
                f"{percent(percent_of(beside.energy_uj, whole))} of all energy",
                *(on(beside.energy_uj, b.energy_uj, p) for p, _, b in then),
            ],
        ),
        Card(
            "Grid, weighted by use", _grams(intensity(jobs)), [f"{p.title}: {_grams(intensity(a))}" for p, a, _ in then]
        ),
        Card(
            "Measured, not estimated",
            _measured(jobs),
            [f"{energy(jobs.estimated_uj or 0)} estimated", f"{grouped(total.jobs)} jobs"],
        ),
    ]


def on(now: int | None, then: int | None, period: Period) -> str:
    """Return how a figure compares with an earlier one: `▲ 39 % on September 2026`."""
    if now is None or not then:
        return f"{period.title}: {UNKNOWN}"
    change_percent = 100 * (now / then - 1)
    if sentences.is_same(change_percent):
        return f"= as in {period.title}"
    return f"{'▲' if change_percent > 0 else '▼'} {whole_percent(change_percent)} on {period.title}"


def _grams(g_per_kwh: float | None) -> str:
    return UNKNOWN if g_per_kwh is None else f"{g_per_kwh:.0f}\u202fg/kWh"


def intensity(amounts: Amounts) -> float | None:
    """Return carbon over facility energy, g/kWh."""
    if amounts.carbon_ug is None or not amounts.facility_uj:
        return None
    return amounts.carbon_ug / UG_PER_G / (amounts.facility_uj / UJ_PER_KWH)


def _measured(jobs: Amounts) -> str:
    share = percent_of(jobs.energy_uj or 0, jobs.used_uj)
    return UNKNOWN if share is None else percent(int(share * 10) / 10)


def provisional(facts: Facts, total: Total) -> list[str]:
    """Return the reasons for which the figures may still change."""
    slots = facts.history.slots
    early = sum(slot.estimated for slot in slots)
    said = []
    if early:
        said.append(
            f"The intensity of the grid is a first estimate of its source for {percent(100 * early / len(slots))} of the time."
        )
    if facts.unmatched.ledgers:
        count = facts.unmatched.ledgers
        said.append(
            f"{energy(facts.unmatched.energy_uj)} that nodes gave to {grouped(count)} {'run' if count == 1 else 'runs'} of jobs"
            " belongs to no job in Slurm's record (yet), and is in no table of jobs."
        )
    silent = facts.held[0].silent + total.qualities["none"]
    if silent:
        said.append(
            f"Nodes were silent: of {grouped(silent)} {'job' if silent == 1 else 'jobs'} at least one node delivered nothing (yet)."
        )
    return said


def delivered_late(facts: Facts) -> list[str]:
    """Return what nodes changed of the period's months after these were closed: which node, how much, by how much."""
    said = [
        f"Node {visible(one.node)} delivered or changed {grouped(one.rows)} {'row' if one.rows == 1 else 'rows'} of jobs:"
        f" {'+' if one.energy_uj > 0 else ''}{energy(one.energy_uj)}."
        for one in facts.late[:MOST_LATE]
    ]
    more = len(facts.late) - len(said)
    return [*said, f"So did {grouped(more)} other {'node' if more == 1 else 'nodes'}."] if more > 0 else said


def why(changed: Change | None, then: Period, period: Period) -> Shown | None:
    """Return the change of carbon by energy, grid and PUE, as a table whose parts add up."""
    if changed is None:
        return None
    parts = [factor.part_ug for factor in changed.factors]
    decimals = max(0, min(6, 4 - len(str(max(abs(part) for part in parts) // KG))))
    shown = sentences.adding_up(changed.difference_ug, parts, KG, decimals)
    units = {"energy": "{:,.1f}\u202fkWh", "grid": "{:.1f}\u202fg/kWh", "PUE": "{:.3f}"}
    listed = [
        [
            {"energy": "Energy", "grid": "Grid, weighted by use", "PUE": "PUE"}[factor.name],
            *(units[factor.name].format(value).replace(",", "\u202f") for value in (factor.then, factor.now)),
            _changed(factor.percent),
            sentences.signed(part, decimals),
        ]
        for factor, part in zip(changed.factors, shown, strict=True)
    ]
    last = [
        "Carbon",
        *(f"{mass}{NARROW_SPACE}kg" for mass in kg([changed.then_ug, changed.now_ug])),
        _changed(changed.percent),
        sentences.signed(sum(shown), decimals),
    ]
    head = ["", then.title, period.title, "change", "part of the change, kg"]
    return Shown("Why the carbon of the jobs changed; the parts add up", head, [*listed, last], has_total=True)


def _changed(change_percent: float) -> str:
    return (
        "none" if sentences.is_same(change_percent) else f"{'+' if change_percent > 0 else ''}{percent(change_percent)}"
    )


def ratios(facts: Facts, period: Period, now: int) -> Shown:
    """Return ratios that compare periods of different load."""
    periods = (period, *period.compared(now))
    loads = {
        "core-hour, jobs without GPU": [had.cores for had in facts.held],
        "GPU-hour, jobs with GPU": [had.gpus for had in facts.held],
        "node-hour, all jobs": [had.nodes for had in facts.held],
    }
    listed = []
    for name, found in loads.items():
        if any(load.seconds for load in found):
            listed.append([f"kWh per {name}", *(_ratio(load, load.used_uj / UJ_PER_KWH) for load in found)])
            listed.append([f"g CO₂e per {name}", *(_ratio(load, load.carbon_ug / UG_PER_G) for load in found)])
    listed.append(["Idle, share of all energy", *(percent(_idle(facts, each)) for each in periods)])
    return Shown("Ratios, which compare periods of different load", ["", *(each.title for each in periods)], listed)


def _idle(facts: Facts, period: Period) -> float | None:
    beside = facts.history.beside(period)
    return percent_of(beside.idle_uj, sum_known((facts.history.jobs(period).used_uj, beside.energy_uj)))


def _ratio(load: Load, amount: float) -> str:
    return three_digits(amount / (load.seconds / S_PER_H)) if load.seconds else UNKNOWN


def emitted(facts: Facts) -> Shown:
    """Return energy and emissions of jobs, idle and system, each kind of emission apart."""
    names = ("energy_uj", "facility_uj", "carbon_ug", "market_ug", "upstream_ug", "td_ug", "embodied_ug")
    parts = {
        "Jobs": facts.energy.jobs,
        "Idle": facts.energy.idle,
        "System": facts.energy.system,
        "All": facts.energy.all,
    }
    columns = [kwh([getattr(p, n) for p in parts.values()]) for n in names[:2]]
    columns += [kg([getattr(p, n) for p in parts.values()]) for n in names[2:]]
    head = [
        "",
        "kWh",
        "facility, kWh",
        "location-based, kg",
        "market-based, kg",
        "upstream, kg",
        "T&D, kg",
        "embodied, kg",
    ]
    caption = (
        "Each column is a figure of its own: none is added to another. A dash is not known, or not stated by the site."
    )
    return Shown(caption, head, rows(list(parts), *columns), has_total=True)


def balance(facts: Facts) -> Shown:
    """Return the conservation of energy by component."""
    found = {**facts.conservation.components, "all": facts.conservation.total}
    columns = [kwh([getattr(b, n) for b in found.values()]) for n in ("metered_uj", "jobs_uj", "idle_uj", "system_uj")]
    head = ["Component", "metered, kWh", "jobs, kWh", "idle, kWh", "system, kWh", "difference, µJ"]
    differences = [grouped(b.difference_uj) for b in found.values()]
    caption = "What the meters of all nodes counted. Idle is what nobody held; system is what ran outside the jobs."
    return Shown(caption, head, rows(list(found), *columns, differences), has_total=True)


def view(
    facts: Facts, period: Period, now: int, total: Total, currency: str, target_kg: float | None, height: int
) -> dict[str, Any]:
    """Return what the template of the site's page shows, beside its tables of users, accounts and jobs."""
    then, _ = period.compared(now)
    jobs = facts.history.jobs(period)
    changed = change(facts.history.jobs(then), jobs)
    found = drawings.buckets(facts, period, now, period.is_long)
    heats, even = drawings.when(facts, period, now)
    return {
        "lead": sentences.emitted(period, then, "the jobs", jobs, changed),
        "wasted": sentences.wasted(facts.wasted, jobs.used_uj),
        "cards": cards(facts, period, now, total, currency),
        "provisional": provisional(facts, total),
        "days": drawings.by_day(found, facts, then, height),
        "months": drawings.by_month(facts, period, target_kg, height),
        "heats": heats,
        "even": even,
        "projects": drawings.projects(facts, then),
        "where": drawings.where(facts, period),
        "waste": drawings.waste(facts, jobs.used_uj),
        "why": why(changed, then, period),
        "ratios": ratios(facts, period, now),
        "emitted": emitted(facts),
        "balance": balance(facts) if facts.conservation.components else None,
        "late": delivered_late(facts),
        "exact": facts.conservation.total,
    }
