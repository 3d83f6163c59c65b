# SPDX-License-Identifier: MIT
"""Reads what the whole site consumed and emitted, by day and by slot, of the period and of those that it is compared with.

The database adds up: a row for each day, and a row for each slot of a cluster. Nothing here is by user, account or job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import case, func, or_, select

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.large_sums import known
from carbon_acct.db.models import Cluster, DaySum, SiteSlot, SlotFactor
from carbon_acct.db.rows import ask
from carbon_acct.factors.arithmetic import emissions
from carbon_acct.known import sum_known
from carbon_collector.meters.base import COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.orm import Session

    from carbon_acct.factors.arithmetic import Factors
    from carbon_acct.factors.slot_factor import SiteTerms

    from .period import Period

AMOUNTS = (*(f"{c}_uj" for c in COMPONENTS), "energy_uj", "estimated_uj", "facility_uj", "carbon_ug", "market_ug")


@dataclass(frozen=True)
class Amounts:
    """The sums of the jobs: microjoules and micrograms. None means not known. `energy_uj` was measured."""

    cpu_uj: int | None = None
    dram_uj: int | None = None
    gpu_uj: int | None = None
    other_uj: int | None = None
    energy_uj: int | None = None
    estimated_uj: int | None = None
    facility_uj: int | None = None
    carbon_ug: int | None = None
    market_ug: int | None = None

    @property
    def used_uj(self) -> int | None:
        """Return the energy, measured and estimated."""
        return sum_known((self.energy_uj, self.estimated_uj))


class Beside(NamedTuple):
    """What is no job's: energy of idle and system in microjoules, and their emissions in micrograms."""

    idle_uj: int | None = None
    system_uj: int | None = None
    idle_ug: int | None = None
    system_ug: int | None = None

    @property
    def energy_uj(self) -> int | None:
        """Return both energies."""
        return sum_known((self.idle_uj, self.system_uj))

    @property
    def carbon_ug(self) -> int | None:
        """Return the emissions of both."""
        return sum_known((self.idle_ug, self.system_ug))


class Slot(NamedTuple):
    """A quarter of an hour of a cluster: what its meters gave to jobs, idle and system, and the factors of its zone."""

    start: int
    jobs_uj: int | None
    idle_uj: int | None
    system_uj: int | None
    factors: Factors
    estimated: bool
    """Whether the intensity is a first estimate of its source."""

    @property
    def beside(self) -> Beside:
        """Return what was no job's."""
        grams = (emissions(uj, self.factors).carbon_ug for uj in (self.idle_uj, self.system_uj))
        return Beside(self.idle_uj, self.system_uj, *grams)


class History(NamedTuple):
    """The days of the site by their first second, the slots of the period in order of time, and what was no job's in each
    of the windows [start, end) that were asked for.
    """

    days: dict[int, Amounts]
    slots: list[Slot]
    windows: dict[tuple[int, int], Beside]

    def jobs(self, period: Period) -> Amounts:
        """Return the sums of the jobs of a period."""
        return total(day for first, day in self.days.items() if period.start <= first < period.end)

    def beside(self, period: Period) -> Beside:
        """Return what was no job's in a period that was asked for."""
        return self.windows[period.start, period.end]


def total(parts: Iterable[Amounts]) -> Amounts:
    """Return the sums of amounts."""
    listed = list(parts)
    return Amounts(**{name: sum_known(getattr(part, name) for part in listed) for name in AMOUNTS})


def read(session: Session, terms: SiteTerms, period: Period, now: int) -> History:
    """Return the history of a period and of all that it is compared with.

    It stores missing slot factors, so the session must write.
    """
    others = {*period.compared(now), *period.twelve_months()} - {period}
    first = min(each.start for each in (period, *others))
    slots = _slots(session, terms, period.start, period.end)
    windows = {(each.start, each.end): beside(_slots(session, terms, each.start, each.end)) for each in others}
    return History(_days(session, first, period.end), slots, {**windows, (period.start, period.end): beside(slots)})


def beside(slots: Iterable[Slot]) -> Beside:
    """Return what was no job's over slots."""
    parts = [slot.beside for slot in slots]
    return Beside(*map(sum_known, zip(*parts, strict=True))) if parts else Beside()


def _days(session: Session, start: int, end: int) -> dict[int, Amounts]:
    query = select(DaySum.day, *_sums()).where(DaySum.day >= start, DaySum.day < end)
    return {int(day): _amounts(sums) for day, *sums in ask(session, query.group_by(DaySum.day), {})}


def by_association(session: Session, start: int, end: int) -> dict[int, Amounts]:
    """Return the sums of the jobs of each association over the days that begin in [start, end)."""
    query = select(DaySum.association_id, *_sums()).where(DaySum.day >= start, DaySum.day < end)
    return {int(key): _amounts(sums) for key, *sums in ask(session, query.group_by(DaySum.association_id), {})}


def _sums() -> list[Any]:
    columns = (known(getattr(DaySum, f"{name}_jobs"), getattr(DaySum, name)) for name in AMOUNTS)
    return [part for column in columns for part in exact_parts(column)]


def _amounts(sums: Sequence[Any]) -> Amounts:
    return Amounts(*(exact_whole(sums[at : at + 2]) for at in range(0, len(sums), 2)))


def _slots(session: Session, terms: SiteTerms, start: int, end: int) -> list[Slot]:
    query = select(Cluster.name, SiteSlot.slot, *_metered("jobs_uj"), *_metered("idle_uj"), *_metered("system_uj"))
    query = query.join(Cluster, Cluster.id == SiteSlot.cluster_id)
    rows = ask(session, query.where(SiteSlot.slot >= start, SiteSlot.slot < end).order_by(SiteSlot.slot), {})
    zones = {cluster: terms.zone(cluster, None) for cluster, *_ in rows}
    factors = terms.factors(session, {(zones[cluster], slot) for cluster, slot, *_ in rows})
    estimated = _estimated(session, start, end)
    many = len(COMPONENTS)
    found = []
    for cluster, slot, *values in rows:
        jobs, idle, system = (sum_known(values[at : at + many]) for at in range(0, 3 * many, many))
        place = zones[cluster], slot
        found.append(Slot(slot, jobs, idle, system, factors[place], place in estimated))
    return found


def _metered(kind: str) -> list[Any]:
    """Return the column of each component, NULL where no node metered it. They are added up here: the sum may exceed 64
    bits.
    """
    return [
        case((or_(getattr(SiteSlot, f"{c}_nodes") > 0, SiteSlot.part > 0), getattr(SiteSlot, f"{c}_{kind}")))
        for c in COMPONENTS
    ]


def _estimated(session: Session, start: int, end: int) -> set[tuple[str, int]]:
    newest = select(SlotFactor.zone, SlotFactor.slot, func.max(SlotFactor.revision).label("revision"))
    newest = newest.where(SlotFactor.slot >= start, SlotFactor.slot < end).group_by(SlotFactor.zone, SlotFactor.slot)
    last = newest.subquery()
    query = select(SlotFactor.zone, SlotFactor.slot).join(
        last,
        (last.c.zone == SlotFactor.zone) & (last.c.slot == SlotFactor.slot) & (last.c.revision == SlotFactor.revision),
    )
    return {(zone, slot) for zone, slot in ask(session, query.where(SlotFactor.estimated), {})}
