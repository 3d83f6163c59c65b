# SPDX-License-Identifier: MIT
"""Says where the site's energy of a window went, and how much of it was measured: for those who may see totals."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.models import DaySum, SiteSlot
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.queries.period import Period, epoch_of
from carbon_acct.queries.site_energy import SiteEnergy, site_energy
from carbon_acct.queries.totals import Conservation, conservation


@dataclass(frozen=True)
class SiteUse:
    """The site's energy: of jobs (measured and estimated), idle and system, with the balance of its meters.

    `estimated_uj` is the part of the jobs' energy that was estimated; `node_us` the time that nodes told of.
    """

    energy: SiteEnergy
    conservation: Conservation
    estimated_uj: int
    node_us: int

    @property
    def pue(self) -> float | None:
        """Return the mean PUE, weighted by energy."""
        whole = self.energy.all
        known = whole.energy_uj and whole.facility_uj is not None
        return round((whole.facility_uj or 0) / (whole.energy_uj or 1), 9) if known else None

    @property
    def estimated_percent(self) -> float | None:
        """Return the estimated share of all energy."""
        whole = self.energy.all.energy_uj
        return round(100 * self.estimated_uj / whole, 6) if whole else None

    @property
    def measured_percent(self) -> float | None:
        """Return the measured share of all energy."""
        return None if self.estimated_percent is None else round(100 - self.estimated_percent, 6)


def site_use(session: Session, terms: SiteTerms, period: Period, now: int) -> SiteUse:
    """Return the site's energy in a window, up to `now`. It stores missing slot factors, so the session must write."""
    start, until = epoch_of(period.first, terms.days), epoch_of(period.until, terms.days)
    end = max(start, min(until, now))
    estimated = session.execute(
        select(*exact_parts(DaySum.estimated_uj)).where(DaySum.day >= start, DaySum.day < end)
    ).one()
    elapsed = session.execute(
        select(*exact_parts(SiteSlot.elapsed_us)).where(SiteSlot.slot >= start, SiteSlot.slot < end)
    ).one()
    return SiteUse(
        energy=site_energy(session, terms, start, end),
        conservation=conservation(session, start, end),
        estimated_uj=exact_whole(estimated) or 0,
        node_us=exact_whole(elapsed) or 0,
    )
