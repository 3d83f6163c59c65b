# SPDX-License-Identifier: MIT
"""The sums of a report: exact integers, and None where nothing is known. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carbon_acct.amounts import UG_PER_G
from carbon_acct.siteenergy import spread
from carbon_acct.slotsum import add
from carbon_collector.units import UJ_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from carbon_acct.siteenergy import SiteEnergy
    from carbon_acct.totals import Conservation

QUALITIES = ("measured", "partial", "estimated", "none")


@dataclass(frozen=True)
class Total:
    """What some jobs had together. Energies in microjoules, carbon in micrograms, `coverage` in percent.

    `qualities`: how many jobs are of each quality; `quality_uj`: the measured and estimated energy of those.
    """

    jobs: int
    energy_uj: int | None
    estimated_uj: int | None
    facility_uj: int | None
    carbon_ug: int | None
    coverage: float | None
    qualities: dict[str, int]
    quality_uj: dict[str, int | None]
    simulated: bool


@dataclass(frozen=True)
class Share:
    """An owner or a project with its total; `percent` of the energy of all jobs, None where that is not known."""

    label: str
    total: Total
    percent: float | None


@dataclass(frozen=True)
class Day:
    """One day of the month."""

    date_start: int
    jobs: int
    energy_uj: int | None
    facility_uj: int | None
    carbon_ug: int | None
    simulated: bool


def total(jobs: pd.DataFrame) -> Total:
    """The total of a frame of jobs."""
    qualities = Counter(jobs["quality"])
    return Total(
        jobs=len(jobs),
        energy_uj=add(jobs["energy_uj"]),
        estimated_uj=add(jobs["estimated_uj"]),
        facility_uj=add(jobs["facility_uj"]),
        carbon_ug=add(jobs["carbon_ug"]),
        coverage=_coverage(jobs),
        qualities={name: qualities[name] for name in QUALITIES},
        quality_uj={name: _used_by(jobs[jobs["quality"] == name]) for name in QUALITIES},
        simulated=bool(jobs["simulated"].any()),
    )


def shares(jobs: pd.DataFrame, column: str) -> list[Share]:
    """The totals by `column`, greatest energy first."""
    whole = _used_by(jobs)
    found = [(str(label), total(group)) for label, group in jobs.groupby(column, sort=False)]
    found.sort(key=lambda pair: (-(_used(pair[1]) or 0), pair[0]))
    return [Share(label, part, percent_of(_used(part), whole)) for label, part in found]


def intensity_g_per_kwh(of: Total) -> float | None:
    """Carbon over facility energy: the grid's intensity as the jobs met it."""
    if of.carbon_ug is None or not of.facility_uj:
        return None
    return of.carbon_ug / UG_PER_G / (of.facility_uj / UJ_PER_KWH)


def greatest(jobs: pd.DataFrame, most: int) -> pd.DataFrame:
    """The jobs with the most energy, measured and estimated."""
    used = [-((e or 0) + (x or 0)) for e, x in zip(jobs["energy_uj"], jobs["estimated_uj"], strict=True)]
    order = sorted(range(len(used)), key=used.__getitem__)
    return jobs.iloc[order[:most]]


def by_day(days: pd.DataFrame, borders: list[int], now: int) -> list[Day]:
    """One entry for each day that has begun, those without a job too. A job counts on every day that it ran."""
    groups = dict(list(days.groupby("start", sort=False)))
    return [_day(start, groups.get(start)) for start in borders[:-1] if start <= now]


def unmatched_uj(conservation: Conservation, jobs: Total) -> int:
    """Energy that the nodes gave to jobs and that no job of Slurm's record has (yet)."""
    return conservation.total.jobs_uj - (jobs.energy_uj or 0) - (jobs.estimated_uj or 0)


def spread_ug(energy: SiteEnergy, of: Sequence[Sequence[Share]]) -> list[dict[str, int]]:
    """Carbon of idle and system, for each list of owners or projects by the energy of each: whole numbers that add up."""
    beside = add((energy.idle.carbon_ug, energy.system.carbon_ug)) or 0
    return [spread(beside, {share.label: _used(share.total) or 0 for share in shares}) for shares in of]


def distinct(jobs: pd.DataFrame, column: str) -> list[str]:
    """The known values of a column, as text, sorted."""
    return sorted({str(value) for value in jobs[column] if value is not None})


def _day(start: int, group: pd.DataFrame | None) -> Day:
    if group is None:
        return Day(start, 0, None, None, None, False)
    return Day(
        date_start=start,
        jobs=sum(group["jobs"]),
        energy_uj=add(group["energy_uj"]),
        facility_uj=add(group["facility_uj"]),
        carbon_ug=add(group["carbon_ug"]),
        simulated=bool(group["simulated"].any()),
    )


def _used(of: Total) -> int | None:
    return add((of.energy_uj, of.estimated_uj))


def _used_by(jobs: pd.DataFrame) -> int | None:
    return add((add(jobs["energy_uj"]), add(jobs["estimated_uj"])))


def percent_of(part: int | None, whole: int | None) -> float | None:
    """A share in percent; None where the part is not known, or there is nothing to have a share of."""
    return None if part is None or not whole else 100 * part / whole


def _coverage(jobs: pd.DataFrame) -> float | None:
    """Coverage weighted by node-time; a job that nothing is known of was not covered."""
    weighted = node_s = 0.0
    for seconds, nodes, coverage, quality in zip(
        jobs["elapsed_s"], jobs["nnodes"], jobs["coverage"], jobs["quality"], strict=True
    ):
        if coverage is None and quality != "none":
            continue
        weight = (seconds or 0) * (nodes or 1)
        weighted += weight * (coverage or 0.0)
        node_s += weight
    return weighted / node_s if node_s else None
