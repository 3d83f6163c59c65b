# SPDX-License-Identifier: MIT
"""The sums of a report: exact integers, and None where nothing is known. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from carbon_acct.client.units import UG_PER_G
from carbon_acct.known import sum_known
from carbon_acct.queries.site_energy import spread
from carbon_collector.units import UJ_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carbon_acct.queries.site_energy import SiteEnergy
    from carbon_acct.queries.totals import DayTotal

    from .run_counts import Tally

QUALITIES = ("measured", "partial", "estimated", "none")


@dataclass(frozen=True)
class Total:
    """The sums of some jobs. Energies are in microjoules, carbon in micrograms, `coverage` in percent.

    `qualities`: the number of jobs of each quality. `quality_uj`: their measured and estimated energy.
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
    market_ug: int | None = None
    cost_u: int | None = None
    """Millionths of the currency of `[site] price`, for facility energy."""


@dataclass(frozen=True)
class Share:
    """An owner or a project with its total. `percent` is its part of the energy of all jobs, None where that is not
    known.
    """

    label: str
    total: Total
    percent: float | None


@dataclass(frozen=True)
class Day:
    """One day of the period."""

    date_start: int
    jobs: int
    energy_uj: int | None
    estimated_uj: int | None
    facility_uj: int | None
    carbon_ug: int | None
    simulated: bool

    @property
    def used_uj(self) -> int | None:
        """Return the energy, measured and estimated."""
        return sum_known((self.energy_uj, self.estimated_uj))


class Part(NamedTuple):
    """The runs of an owner in a project, counted, and their days."""

    owner: str
    project: str
    tallies: list[Tally]
    days: list[DayTotal]
    costs: list[int | None]
    """What each of the days cost."""

    @property
    def has_energy(self) -> bool:
        """Return whether any energy is known."""
        return any(day.energy_uj is not None or day.estimated_uj is not None for day in self.days)


def total(parts: Sequence[Part]) -> Total:
    """Return the total of parts."""
    tallies = [tally for part in parts for tally in part.tallies]
    days = [day for part in parts for day in part.days]
    runs, node_s = Counter[str](), sum(tally.node_s for tally in tallies)
    used_uj = Counter[str]()
    for tally in tallies:
        runs.update(tally.runs)
        used_uj.update(tally.used_uj)
    return Total(
        jobs=runs.total(),
        energy_uj=sum_known(day.energy_uj for day in days),
        estimated_uj=sum_known(day.estimated_uj for day in days),
        facility_uj=sum_known(day.facility_uj for day in days),
        carbon_ug=sum_known(day.carbon_ug for day in days),
        coverage=sum(tally.covered for tally in tallies) / node_s if node_s else None,
        qualities={name: runs[name] for name in QUALITIES},
        quality_uj={name: used_uj.get(name) for name in QUALITIES},
        simulated=any(day.simulated for day in days),
        market_ug=sum_known(day.market_ug for day in days),
        cost_u=sum_known(cost for part in parts for cost in part.costs),
    )


def by(parts: Iterable[Part], column: str) -> dict[str, list[Part]]:
    """Group the parts by owner, or by project, and return them by name."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(getattr(part, column), []).append(part)
    return found


def shares(parts: Sequence[Part], column: str) -> list[Share]:
    """Return the totals by `column`, greatest energy first."""
    found = [(label, total(some)) for label, some in by(parts, column).items()]
    whole = sum_known(_used(part) for _, part in found)
    found.sort(key=lambda pair: (-(_used(pair[1]) or 0), pair[0]))
    return [Share(label, part, percent_of(_used(part), whole)) for label, part in found]


def intensity_g_per_kwh(total: Total) -> float | None:
    """Return carbon over facility energy: the grid's intensity while the jobs ran."""
    if total.carbon_ug is None or not total.facility_uj:
        return None
    return total.carbon_ug / UG_PER_G / (total.facility_uj / UJ_PER_KWH)


def by_day(parts: Iterable[Part], borders: Sequence[int], now: int) -> list[Day]:
    """Return an entry for each day that has begun, also for days without a job. A job counts on every day on which it
    ran.
    """
    days: dict[int, list[DayTotal]] = defaultdict(list)
    for part in parts:
        for day in part.days:
            days[day.start].append(day)
    return [_day(start, days.get(start, ())) for start in borders[:-1] if start <= now]


def spread_ug(energy: SiteEnergy, lists: Sequence[Sequence[Share]]) -> list[dict[str, int]]:
    """Return the carbon of idle and system for each list of owners or projects, split by energy into whole numbers that
    add up.
    """
    beside = sum_known((energy.idle.carbon_ug, energy.system.carbon_ug)) or 0
    return [spread(beside, {share.label: _used(share.total) or 0 for share in shares}) for shares in lists]


def _day(start: int, days: Sequence[DayTotal]) -> Day:
    return Day(
        date_start=start,
        jobs=sum(day.jobs for day in days),
        energy_uj=sum_known(day.energy_uj for day in days),
        estimated_uj=sum_known(day.estimated_uj for day in days),
        facility_uj=sum_known(day.facility_uj for day in days),
        carbon_ug=sum_known(day.carbon_ug for day in days),
        simulated=any(day.simulated for day in days),
    )


def _used(total: Total) -> int | None:
    return sum_known((total.energy_uj, total.estimated_uj))


def percent_of(part: int | None, whole: int | None) -> float | None:
    """Return a share in percent, or None where the part is not known or the whole is nothing."""
    return None if part is None or not whole else 100 * part / whole
