# SPDX-License-Identifier: MIT
"""Makes the drawings of the site's page, each with a sentence as its title and its numbers as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from carbon_acct.client.safe_text import visible
from carbon_acct.client.usage import WASTE
from carbon_acct.known import sum_known

from . import charts, heat, history, sentences
from .numbers import KG, KWH, UNKNOWN, carbon, energy, fixed, grouped, percent, places, whole_percent
from .period import MONTHS
from .sums import percent_of
from .tables import Shown, column, kg, kwh, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .charts import Bar, Segment, Stacked
    from .facts import Facts
    from .history import Amounts, Beside, Slot
    from .period import Period

PARTS = {
    "cpu": "CPU",
    "dram": "DRAM",
    "gpu": "GPU",
    "other": "other",
    "estimated": "estimated",
    "idle": "idle",
    "system": "system",
    "jobs": "jobs",
}
MOST_BARS = 10


class Columns(NamedTuple):
    """Stacked columns: the parts that occur, from the bottom up, the drawing, its unit, what its line means, its numbers."""

    title: str
    kinds: list[tuple[str, str]]
    drawing: Stacked
    unit: str
    line: str
    table: Shown


class Bars(NamedTuple):
    """Bars with marks. `rows`: the cells of each, and its bar."""

    title: str
    head: list[str]
    rows: list[tuple[list[str], Bar]]
    mark: str


class Whole(NamedTuple):
    """One bar of 100 percent, and the table of its parts: (class, cells)."""

    title: str
    segments: list[Segment]
    rows: list[tuple[str, list[str]]]


class HeatTable(NamedTuple):
    """A heat table. `rows`: the label and the (shade, number) of each cell. `ends`: the least and the greatest number."""

    title: str
    kind: str
    columns: list[tuple[str, bool]]
    rows: list[tuple[str, list[tuple[int | None, str]]]]
    ends: tuple[str, str]


@dataclass(frozen=True)
class Bucket:
    """A day of the site, or a month of a long period: its label, the jobs' sums, and what was no job's."""

    label: str
    jobs: Amounts
    beside: Beside

    @property
    def parts(self) -> list[int | None]:
        """Return the energies in the order of PARTS without jobs."""
        j = self.jobs
        return [j.cpu_uj, j.dram_uj, j.gpu_uj, j.other_uj, j.estimated_uj, self.beside.idle_uj, self.beside.system_uj]


def buckets(facts: Facts, period: Period, now: int, long: bool) -> list[Bucket]:
    """Return the days that have begun, or the months if `long`."""
    days: dict[str, list[Amounts]] = {}
    slots: dict[str, list[Slot]] = {}
    for start in period.borders()[:-1]:
        if start <= now:
            name = period.day(start)[: 7 if long else 10]
            days.setdefault(name, []).append(facts.history.days.get(start, history.Amounts()))
    for slot in facts.history.slots:
        slots.setdefault(period.day(slot.start)[: 7 if long else 10], []).append(slot)
    return [Bucket(name, history.total(found), history.beside(slots.get(name, ()))) for name, found in days.items()]


def by_day(found: Sequence[Bucket], facts: Facts, then: Period, height: int) -> Columns:
    """Return the columns of energy by day."""
    values = [bucket.parts for bucket in found]
    used = [sum_known(parts) for parts in values]
    there = [at for at in range(7) if any(parts[at] for parts in values)]
    kinds = [list(PARTS)[at] for at in there]
    mean = _mean_of(facts, then, len(found))
    notes = [
        _note(bucket, [list(PARTS.values())[at] for at in there], [bucket.parts[at] for at in there])
        for bucket in found
    ]
    shown = [[_float(parts[at], KWH) for at in there] for parts in values]
    labels = [bucket.label for bucket in found]
    short = [label[8:].lstrip("0") or label[5:] for label in labels]
    drawing = charts.stacked(kinds, shown, short, notes, mean, height)
    decimals = places(used, KWH)
    cells = [[fixed(parts[at], KWH, decimals) for parts in values] for at in there]
    named = [PARTS[kind] for kind in kinds]
    table = Shown(
        "Energy by day, kWh, and carbon of the jobs, kg CO₂e",
        ["Day", *(f"{name}, kWh" for name in named), "all, kWh", "jobs, kg"],
        rows(labels, *cells, [fixed(u, KWH, decimals) for u in used], kg([b.jobs.carbon_ug for b in found])),
    )
    line = "" if mean is None else f"mean of {then.short}"
    legend = list(zip(kinds, named, strict=True))
    return Columns(sentences.days([_spoken(label) for label in labels], used), legend, drawing, "kWh", line, table)


def _spoken(label: str) -> str:
    """Return a day or a month as a sentence has it: `25 March`, `March 2024`."""
    month = MONTHS[int(label[5:7]) - 1]
    return f"{int(label[8:])} {month}" if len(label) > 7 else f"{month} {label[:4]}"


def _mean_of(facts: Facts, then: Period, count: int) -> float | None:
    """Return the mean of the period before by day or month, in kWh, or None where nothing is known of it."""
    whole = sum_known((facts.history.jobs(then).used_uj, facts.history.beside(then).energy_uj))
    days = (then.after - then.first).days
    return None if whole is None or not count else whole / KWH / (12 if then.is_long else days)


def by_month(facts: Facts, period: Period, target_kg: float | None, height: int) -> Columns:
    """Return the columns of carbon of twelve months."""
    months = period.twelve_months()
    jobs = [facts.history.jobs(month).carbon_ug for month in months]
    idle = [facts.history.beside(month).idle_ug for month in months]
    system = [facts.history.beside(month).system_ug for month in months]
    whole = [sum_known(three) for three in zip(jobs, idle, system, strict=True)]
    kinds = ["jobs", "idle", "system"]
    labels = [f"{month.short[:3]} {month.first.year}" for month in months]
    values = [[_float(ug, KG) for ug in three] for three in zip(jobs, idle, system, strict=True)]
    notes = [f"{label}: {carbon(ug)}" for label, ug in zip(labels, whole, strict=True)]
    drawing = charts.stacked(kinds, values, [label[:3] for label in labels], notes, target_kg, height)
    decimals = places(whole, KG)
    cells = [[fixed(ug, KG, decimals) for ug in many] for many in (jobs, idle, system, whole)]
    used = kwh([facts.history.jobs(month).used_uj for month in months])
    table = Shown(
        "Carbon of twelve months, kg CO₂e, and energy of the jobs, kWh",
        ["Month", "jobs, kg", "idle, kg", "system, kg", "all, kg", "jobs, kWh"],
        rows(labels, *cells, used),
    )
    line = "" if target_kg is None else f"target: {grouped(round(target_kg))} kg a month"
    legend = [(kind, PARTS[kind]) for kind in kinds]
    return Columns(sentences.months(months[-1], whole, target_kg), legend, drawing, "kg", line, table)


def when(facts: Facts, period: Period, now: int) -> tuple[list[HeatTable], str]:
    """Return the two heat tables, and what the same energy would have emitted at the mean intensity."""
    hours = heat.heat(facts.history.slots, period, now)
    head = [(f"{hour}{'b' if again else ''}", hour % 3 == 0 and not again) for hour, again in hours.columns]
    names = [name for name, _ in hours.rows]
    energies = [[hour.jobs_uj for hour in cells] for _, cells in hours.rows]
    decimals = min(places([uj for many in energies for uj in many], KWH), 2)
    warm, warm_ends = _heat(names, energies, lambda uj: fixed(uj, KWH, decimals))
    # Means of the same intensity differ in their last bits, which are no shades.
    grid = [[None if hour.g_per_kwh is None else round(hour.g_per_kwh, 3) for hour in cells] for _, cells in hours.rows]
    cold, cold_ends = _heat(names, grid, lambda g: f"{g:.0f}")
    tables = [
        HeatTable("Metered energy of the jobs by hour, kWh", "energy", head, warm, warm_ends),
        HeatTable("Intensity of the grid by hour, g CO₂e/kWh", "grid", head, cold, cold_ends),
    ]
    even = heat.evenly(facts.history.slots)
    if even is None:
        return tables, ""
    less = 100 * (even.at_mean_ug / even.carbon_ug - 1) if even.carbon_ug else 0.0
    how = f"{whole_percent(less)} {'more' if less > 0 else 'less'}" if abs(less) >= 0.05 else "the same"
    said = (
        f"This energy emitted {carbon(even.carbon_ug)}. At the mean intensity of the period, {even.mean_g_per_kwh:.0f} g/kWh, "
        f"it would have emitted {carbon(even.at_mean_ug)}, {how}."
    )
    return tables, said


def _heat(
    names: Sequence[str], values: Sequence[Sequence[float | None]], text: Callable[[Any], str]
) -> tuple[list[tuple[str, list[tuple[int | None, str]]]], tuple[str, str]]:
    """Return the rows of a heat table, a shade and a text for each value, and the texts of the least and the greatest."""
    known = [value for many in values for value in many if value is not None]
    least, most = min(known, default=0), max(known, default=0)
    found = [
        (name, [(heat.shade(value, least, most), UNKNOWN if value is None else text(value)) for value in many])
        for name, many in zip(names, values, strict=True)
    ]
    return found, (text(least), text(most))


def projects(facts: Facts, then: Period) -> Bars | None:
    """Return the projects with the most carbon."""
    now: dict[str, list[history.Amounts]] = {}
    for part in facts.parts:
        for day in part.days:
            amounts = history.Amounts(energy_uj=day.energy_uj, estimated_uj=day.estimated_uj, carbon_ug=day.carbon_ug)
            now.setdefault(part.project, []).append(amounts)
    found = {name: history.total(many) for name, many in now.items()}
    first = sorted(found, key=lambda name: (-(found[name].carbon_ug or 0), name))[:MOST_BARS]
    first = [name for name in first if found[name].carbon_ug is not None]
    if not first:
        return None
    before = earlier(facts.before, 1)
    values = [found[name].carbon_ug for name in first]
    marks = [before[name].carbon_ug if name in before else None for name in first]
    whole = sum_known(amounts.carbon_ug for amounts in found.values())
    cells = rows([visible(name) for name in first], *_same(values, marks), kwh([found[name].used_uj for name in first]))
    drawn = charts.bars([_float(v, KG) for v in values], [_float(m, KG) for m in marks])
    share = percent_of(values[0], whole)
    title = f"{visible(first[0])} emitted the most, {whole_percent(share or 0)} of the carbon of the jobs"
    if len(found) > len(first):
        title += f"; the first {len(first)} of {len(found)} projects, {whole_percent(percent_of(sum_known(values), whole) or 0)}"
    head = ["Project", "kg CO₂e", f"{then.short}, kg", "kWh"]
    return Bars(title, head, list(zip(cells, drawn, strict=True)), then.short)


def earlier(before: dict[tuple[str, str], history.Amounts], place: int) -> dict[str, history.Amounts]:
    """Return the sums of the period before by owner (0) or project (1)."""
    found: dict[str, list[history.Amounts]] = {}
    for key, amounts in before.items():
        found.setdefault(key[place], []).append(amounts)
    return {name: history.total(many) for name, many in found.items()}


def where(facts: Facts, period: Period) -> Whole:
    """Return where the energy went: the jobs' components, what belongs to no job, idle, system, and what was estimated."""
    jobs, beside = facts.history.jobs(period), facts.history.beside(period)
    parts = {
        "cpu": ("Jobs, CPU", jobs.cpu_uj),
        "dram": ("Jobs, DRAM", jobs.dram_uj),
        "gpu": ("Jobs, GPU", jobs.gpu_uj),
        "other": ("Jobs, other", jobs.other_uj),
        "estimated": ("Jobs, estimated", jobs.estimated_uj),
        "idle": ("Idle", beside.idle_uj),
        "system": ("System", beside.system_uj),
    }
    known = {kind: (name, uj) for kind, (name, uj) in parts.items() if uj is not None}
    whole = sum_known(uj for _, uj in known.values())
    energies = kwh([*(uj for _, uj in known.values()), whole])
    shares = [percent(percent_of(uj, whole)) for _, uj in known.values()]
    cells = [[name, kwh_, share] for (name, _), kwh_, share in zip(known.values(), energies, shares, strict=False)]
    segments = charts.whole([(kind, _float(uj, KWH)) for kind, (_, uj) in known.items()])
    idle = percent_of(beside.energy_uj, whole)
    title = "Nothing is known of where the energy went"
    if whole:
        title = f"{whole_percent(100 - (idle or 0))} of {energy(whole)} went into jobs, {whole_percent(idle or 0)} into idle and system"
    return Whole(title, segments, [*zip(known, cells, strict=True), ("", ["All", energies[-1], ""])])


def waste(facts: Facts, used_uj: int | None) -> Bars | None:
    """Return the energy that no result came of, by rule, or None where there was none."""
    found = facts.wasted
    if not found:
        return None
    energies = [each.used_uj for each in found]
    cells = rows(
        [WASTE[each.rule] for each in found],
        [grouped(each.jobs) for each in found],
        kwh(energies),
        kg([each.carbon_ug for each in found]),
        [percent(percent_of(uj, used_uj)) for uj in energies],
    )
    drawn = charts.bars([_float(uj, KWH) for uj in energies])
    head = ["Rule", "Jobs", "kWh", "kg CO₂e", "of the jobs"]
    return Bars(sentences.waste_title(found, used_uj), head, list(zip(cells, drawn, strict=True)), "")


def _same(*columns: Sequence[int | None]) -> list[list[str]]:
    """Return columns of masses with the same number of decimals."""
    cells = column([value for many in columns for value in many], KG)
    count = len(columns[0])
    return [cells[at : at + count] for at in range(0, len(cells), count)]


def _note(bucket: Bucket, names: Sequence[str], values: Sequence[int | None]) -> str:
    listed = ", ".join(f"{name} {energy(uj)}" for name, uj in zip(names, values, strict=True) if uj)
    return f"{bucket.label}: {listed or 'nothing known'}"


def _float(value: int | None, unit: int) -> float | None:
    return None if value is None else value / unit
