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

    from .month import Month
    from .month_facts import Job
    from .sums import Day, Share

FOR_PEOPLE = ("Energy", "Carbon", "Elapsed")
MOMENTS = ("Submit", "Eligible", "Start", "End")


JOB_FIELDS = tuple(field for field in fields.FIELDS if field.name not in FOR_PEOPLE)
NOT_SHOWN = ("owner", "project")
"""The keys of a run that the HTTP API does not have."""


def jobs_head() -> str:
    """Return the first line of a list of runs: the fields of carbon-acct."""
    return _csv([field.name for field in JOB_FIELDS], ())


def job_csv(job: Job, month: Month) -> str:
    """Return the line of a run. Times have their offset from UTC."""
    screen = fields.Screen()
    cells = [month.moment(job[f.key]) if f.name in MOMENTS else f.show(job, screen) for f in JOB_FIELDS]
    return _csv(cells, ())


def shares_csv(name: str, shares: Sequence[Share]) -> str:
    """Return owners or projects with their totals. `name` is the head of the first column."""
    head = [name, "Jobs", "EnergyRaw", "EstimatedEnergyRaw", "FacilityEnergyRaw", "CarbonRaw", "SharePercent"]
    head += ["Coverage", "Measured", "Partial", "Estimated", "None", "Simulated"]
    return _csv(head, ([escaped(share.label), *_share_cells(share)] for share in shares))


def days_csv(days: Sequence[Day], month: Month) -> str:
    """Return the lines of the days of the month."""
    head = ["Day", "Jobs", "EnergyRaw", "FacilityEnergyRaw", "CarbonRaw", "Simulated"]
    return _csv(head, ([month.day(day.date_start), *_day_cells(day)] for day in days))


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


def _share_cells(share: Share) -> list[str]:
    total = share.total
    energies = [_joules(uj) for uj in (total.energy_uj, total.estimated_uj, total.facility_uj)]
    percents = ["" if p is None else f"{p:.2f}" for p in (share.percent, total.coverage)]
    qualities = [str(count) for count in total.qualities.values()]
    return [str(total.jobs), *energies, _grams(total.carbon_ug), *percents, *qualities, _yes(total.simulated)]


def _day_cells(day: Day) -> list[str]:
    energies = [_joules(day.energy_uj), _joules(day.facility_uj)]
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
    return "" if ug is None else units.decimal(ug, units.UG_PER_G, 3)
