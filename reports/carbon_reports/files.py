# SPDX-License-Identifier: MIT
"""Writes a report's figures for spreadsheets and programs: CSV in joules and grams, JSON in microjoules and micrograms."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from carbon_acct.client import fields, units
from carbon_acct.client.safe_text import defused, escaped
from carbon_collector.units import UJ_PER_J

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .drawings import Bucket
    from .facts import Job
    from .heat import Heat
    from .history import History
    from .period import Period
    from .sums import Day, Share
    from .wasted import Wasted

FOR_PEOPLE = ("Energy", "Carbon", "Elapsed")
MOMENTS = ("Submit", "Eligible", "Start", "End")
PARTS = ("CPU", "DRAM", "GPU", "Other", "Idle", "System")
"""The parts of a day's energy, measured."""


JOB_FIELDS = tuple(field for field in fields.FIELDS if field.name not in FOR_PEOPLE)
NOT_SHOWN = ("owner", "project")
"""The keys of a run that the HTTP API does not have."""


def jobs_head() -> str:
    """Return the first line of a list of runs: the fields of carbon-acct."""
    return _csv([field.name for field in JOB_FIELDS], ())


def job_csv(job: Job, period: Period) -> str:
    """Return the line of a run. Times have their offset from UTC."""
    screen = fields.Screen()
    cells = [period.moment(job[f.key]) if f.name in MOMENTS else f.show(job, screen) for f in JOB_FIELDS]
    return _csv(cells, ())


def shares_csv(name: str, shares: Sequence[Share], currency: str) -> str:
    """Return owners or projects with their totals. `name` is the head of the first column."""
    head = [name, "Jobs", "EnergyRaw", "EstimatedEnergyRaw", "FacilityEnergyRaw", *_cost_head(currency), "CarbonRaw"]
    head += ["CarbonMarketRaw", "SharePercent", "Coverage", "Measured", "Partial", "Estimated", "None", "Simulated"]
    return _csv(head, ([escaped(share.label), *_share_cells(share, currency)] for share in shares))


def days_csv(days: Sequence[Day], found: Sequence[Bucket], period: Period) -> str:
    """Return the days of the period. `found`: the parts of each day."""
    head = ["Day", "Jobs", "EnergyRaw", "EstimatedEnergyRaw", *(f"{name}EnergyRaw" for name in PARTS)]
    head += ["FacilityEnergyRaw", "CarbonRaw", "Simulated"]
    return _csv(head, ([period.day(d.date_start), *_day_cells(d, b)] for d, b in zip(days, found, strict=True)))


def waste_csv(found: Sequence[Wasted]) -> str:
    """Return the energy that no result came of, by the rules of `carbon-acct --waste`."""
    rows = ([each.rule, "" if each.jobs is None else str(each.jobs), *_of_waste(each)] for each in found)
    return _csv(["Rule", "Jobs", "EnergyRaw", "CarbonRaw"], rows)


def _of_waste(each: Wasted) -> list[str]:
    return [_joules(each.used_uj), _grams(each.carbon_ug)]


def months_csv(history: History, period: Period) -> str:
    """Return the twelve months that a report shows."""
    head = ["Month", "EnergyRaw", "EstimatedEnergyRaw", "CarbonRaw", "IdleEnergyRaw", "SystemEnergyRaw"]
    head += ["IdleCarbonRaw", "SystemCarbonRaw"]
    rows = []
    for month in period.twelve_months():
        jobs, beside = history.jobs(month), history.beside(month)
        sums = [_joules(jobs.energy_uj), _joules(jobs.estimated_uj), _grams(jobs.carbon_ug)]
        rest = [_joules(beside.idle_uj), _joules(beside.system_uj), _grams(beside.idle_ug), _grams(beside.system_ug)]
        rows.append([month.name, *sums, *rest])
    return _csv(head, rows)


def hours_csv(hours: Heat) -> str:
    """Return the hours that the heat tables show. An hour that a day has twice is there twice: the second has a `b`."""
    head = ["Day", "Hour", "JobsMeteredEnergyRaw", "Intensity"]
    named = [f"{hour}{'b' if again else ''}" for hour, again in hours.columns]
    cells = (
        [day, name, _joules(hour.jobs_uj), "" if hour.g_per_kwh is None else f"{hour.g_per_kwh:.3f}"]
        for day, row in hours.rows
        for name, hour in zip(named, row, strict=True)
        if hour.intensities
    )
    return _csv(head, cells)


def as_json(content: dict[str, Any]) -> str:
    """Return JSON in plain ASCII, with a line for each part and integers in full, however large."""
    return json_begin(content) + "\n}\n"


def json_begin(content: dict[str, Any], then: str = "") -> str:
    """Return the beginning of a JSON object with this content. It is not closed: JSON_END must follow.

    With `then` a list of that name is begun last; its items must follow before JSON_END.
    """
    parts = [f" {json.dumps(name)}: {json.dumps(value, default=vars)}" for name, value in content.items()]
    return "{\n" + ",\n".join(parts) + (f',\n "{then}": [' if then else "")


JSON_END = "\n ]\n}\n"


def job_json(job: Job) -> str:
    """Return a run with the keys of the HTTP API, in a line."""
    return "\n  " + json.dumps({key: value for key, value in job.items() if key not in NOT_SHOWN})


def _share_cells(share: Share, currency: str) -> list[str]:
    total = share.total
    energies = [_joules(uj) for uj in (total.energy_uj, total.estimated_uj, total.facility_uj)]
    cost = [("" if total.cost_u is None else units.decimal(total.cost_u, 1_000_000, 2))] if currency else []
    percents = ["" if p is None else f"{p:.2f}" for p in (share.percent, total.coverage)]
    qualities = [str(count) for count in total.qualities.values()]
    masses = [_grams(total.carbon_ug), _grams(total.market_ug)]
    return [str(total.jobs), *energies, *cost, *masses, *percents, *qualities, _yes(total.simulated)]


def _cost_head(currency: str) -> list[str]:
    return [f"Cost{escaped(currency)}"] if currency else []


def _day_cells(day: Day, found: Bucket) -> list[str]:
    jobs, beside = found.jobs, found.beside
    parts = (jobs.cpu_uj, jobs.dram_uj, jobs.gpu_uj, jobs.other_uj, beside.idle_uj, beside.system_uj)
    energies = [_joules(uj) for uj in (day.energy_uj, day.estimated_uj, *parts, day.facility_uj)]
    return [str(day.jobs), *energies, _grams(day.carbon_ug), _yes(day.simulated)]


def _csv(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([defused(cell) for cell in row] for row in (head, *rows))
    return text.getvalue()


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _joules(uj: int | None) -> str:
    return "" if uj is None else str(units.rounded(uj, UJ_PER_J))


def _grams(ug: int | None) -> str:
    return "" if ug is None else units.grams(ug)
