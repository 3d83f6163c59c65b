# SPDX-License-Identifier: MIT
"""A report's figures for spreadsheets and programs: CSV in joules and grams, JSON in microjoules and micrograms."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from carbon_acct import amounts, fields
from carbon_acct.text import defused, escaped
from carbon_collector.units import UJ_PER_J

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .month import Month
    from .sums import Day, Share

FOR_PEOPLE = ("Energy", "Carbon", "Elapsed")
MOMENTS = ("Submit", "Start", "End")


def jobs_csv(jobs: pd.DataFrame, month: Month) -> str:
    """All jobs with the fields of carbon-acct; times with their offset from UTC."""
    shown = [field for field in fields.FIELDS if field.name not in FOR_PEOPLE]
    screen = fields.Screen()
    rows = (
        [month.moment(job[f.key]) if f.name in MOMENTS else f.show(job, screen) for f in shown]
        for job in job_dicts(jobs)
    )
    return _csv([field.name for field in shown], rows)


def shares_csv(name: str, shares: Sequence[Share]) -> str:
    """Owners or projects with their totals; `name` heads the first column."""
    head = [name, "Jobs", "EnergyRaw", "EstimatedEnergyRaw", "FacilityEnergyRaw", "CarbonRaw", "SharePercent"]
    head += ["Coverage", "Measured", "Partial", "Estimated", "None", "Simulated"]
    return _csv(head, ([escaped(share.label), *_share_cells(share)] for share in shares))


def days_csv(days: Sequence[Day], month: Month) -> str:
    """The days of the month."""
    head = ["Day", "Jobs", "EnergyRaw", "FacilityEnergyRaw", "CarbonRaw", "Simulated"]
    return _csv(head, ([month.day(day.date_start), *_day_cells(day)] for day in days))


def as_json(content: dict[str, Any]) -> str:
    """JSON in plain ASCII; integers in full, however large."""
    return json.dumps(content, indent=1, default=asdict) + "\n"


def job_dicts(jobs: pd.DataFrame) -> list[dict[str, Any]]:
    """The jobs with the keys of the HTTP API."""
    return [{str(k): v for k, v in row.items() if k not in {"owner", "project"}} for row in jobs.to_dict("records")]


def _share_cells(share: Share) -> list[str]:
    of = share.total
    energies = [_joules(uj) for uj in (of.energy_uj, of.estimated_uj, of.facility_uj)]
    percents = ["" if p is None else f"{p:.2f}" for p in (share.percent, of.coverage)]
    qualities = [str(count) for count in of.qualities.values()]
    return [str(of.jobs), *energies, _grams(of.carbon_ug), *percents, *qualities, _yes(of.simulated)]


def _day_cells(day: Day) -> list[str]:
    energies = [_joules(day.energy_uj), _joules(day.facility_uj)]
    return [str(day.jobs), *energies, _grams(day.carbon_ug), _yes(day.simulated)]


def _csv(head: list[str], rows: Iterable[list[str]]) -> str:
    frame = pd.DataFrame([[defused(cell) for cell in row] for row in rows], columns=head, dtype=object)
    return frame.to_csv(index=False)


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _joules(uj: int | None) -> str:
    return "" if uj is None else str(amounts.rounded(uj, UJ_PER_J))


def _grams(ug: int | None) -> str:
    return "" if ug is None else amounts.decimal(ug, amounts.UG_PER_G, 3)
