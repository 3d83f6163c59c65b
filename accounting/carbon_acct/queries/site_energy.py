# SPDX-License-Identifier: MIT
"""Returns where the site's energy went: jobs, and beside them idle and system, with emissions slot by slot as for jobs.

No job's figure holds any of idle or system. Whoever spreads them over the jobs does so by a rule, and names it:
`spread`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.large_sums import known
from carbon_acct.db.models import Cluster, DaySum, SiteSlot
from carbon_acct.factors.arithmetic import Factors, emissions
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.known import sum_known
from carbon_collector.apportion import apportion
from carbon_collector.meters.base import COMPONENTS

K = TypeVar("K")


@dataclass(frozen=True)
class Figures:
    """Energies in microjoules and emissions in micrograms. No figure contains another. None means not known, or not
    stated.

    `energy_uj` is measured and estimated. `embodied_ug` is for the time that was held, or that nobody held.
    """

    energy_uj: int | None = None
    facility_uj: int | None = None
    carbon_ug: int | None = None
    market_ug: int | None = None
    upstream_ug: int | None = None
    td_ug: int | None = None
    embodied_ug: int | None = None


NAMES = tuple(f.name for f in fields(Figures))


class SiteEnergy(NamedTuple):
    """The figures of all clusters in some days of the site."""

    jobs: Figures
    idle: Figures
    system: Figures

    @property
    def all(self) -> Figures:
        """Return the sum of the three."""
        return _sum(self)


def site_energy(session: Session, terms: SiteTerms, start: int, end: int) -> SiteEnergy:
    """Return the figures of the days that begin in [start, end). It stores missing slot factors, so the session must
    write.

    A cluster's idle and system energy belongs to the cluster's zone, whatever zones its partitions have.
    """
    jobs = _jobs(session, start, end)
    idle, system = _beside(session, terms, start, end)
    whole = terms.node_types.embodied_ug(end - start)
    rest = None if whole is None else whole - (jobs.embodied_ug or 0)
    return SiteEnergy(jobs, _sum((idle, Figures(embodied_ug=rest))), system)


def spread(amount: int, energies_uj: Mapping[K, int]) -> dict[K, int]:
    """Return an amount of idle and system split by the energy of each, in whole numbers that add up to it. Without
    energy all get 0.
    """
    if not any(energies_uj.values()):
        return dict.fromkeys(energies_uj, 0)
    return dict(zip(energies_uj, apportion(amount, list(energies_uj.values())), strict=True))


def _jobs(session: Session, start: int, end: int) -> Figures:
    names = ("estimated_uj", *NAMES)
    columns = [known(getattr(DaySum, f"{name}_jobs"), getattr(DaySum, name)) for name in names]
    query = select(*(part for column in columns for part in exact_parts(column)))
    row = session.execute(query.where(DaySum.day >= start, DaySum.day < end)).one()
    sums = {name: exact_whole(row[2 * at : 2 * at + 2]) for at, name in enumerate(names)}
    estimated = sums.pop("estimated_uj")
    return Figures(**{**sums, "energy_uj": sum_known((sums["energy_uj"], estimated))})


def _beside(session: Session, terms: SiteTerms, start: int, end: int) -> tuple[Figures, Figures]:
    """Return the figures of idle and of system."""
    columns = [_metered(component, kind) for kind in ("idle", "system") for component in COMPONENTS]
    query = select(Cluster.name, SiteSlot.slot, *columns).join(Cluster, Cluster.id == SiteSlot.cluster_id)
    rows = session.execute(query.where(SiteSlot.slot >= start, SiteSlot.slot < end)).all()
    zones = {cluster: terms.zone(cluster, None) for cluster in {row[0] for row in rows}}
    places = [(zones[cluster], slot) for cluster, slot, *_ in rows]
    factors = terms.factors(session, set(places))
    parts = (slice(2, 2 + len(COMPONENTS)), slice(2 + len(COMPONENTS), None))
    idle, system = (
        [_figures(sum_known(row[part]), factors[place]) for row, place in zip(rows, places, strict=True)]
        for part in parts
    )
    return _sum(idle), _sum(system)


def _metered(component: str, kind: str) -> Any:
    """Return the column of a component's idle or system energy, NULL where no node metered the component."""
    return known(getattr(SiteSlot, f"{component}_nodes"), getattr(SiteSlot, f"{component}_{kind}_uj"))


def _figures(energy_uj: int | None, factors: Factors) -> Figures:
    return Figures(energy_uj, **emissions(energy_uj, factors)._asdict())


def _sum(parts: Iterable[Figures]) -> Figures:
    listed = list(parts)
    return Figures(**{name: sum_known(getattr(part, name) for part in listed) for name in NAMES})
