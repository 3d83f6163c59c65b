# SPDX-License-Identifier: MIT
"""The product in its usual order: jobs and their rows come, are given the yearly factor, then the grid's series comes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from accounting import samples
from carbon_acct.db.models import Job, JobSlot
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.factors.slot_factor import Source
from carbon_acct.grid import intensity
from carbon_acct.grid.provider import Period
from carbon_acct.queries import totals
from carbon_acct.sums import recalculate
from carbon_acct.sync.jobs import record_jobs

from .work import by_slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carbon_acct.slurm.client import SlurmJob

    from .work import Work

ZONE = "DE"
SERIES = Source("csv", "synthetic series", "lifecycle")
SLOT_S = 900
SEGMENT_JOBS = 250
RUN = "restart:0"


@dataclass(frozen=True)
class Found:
    """Micrograms as the product keeps them: by (job, slot), by day, and in all."""

    by_slot: dict[tuple[int, int], int]
    by_day: dict[int, int]

    @property
    def total(self) -> int:
        """Of the days: another road than the slots."""
        return sum(self.by_day.values())


class Site:
    """A site with a database in `folder`, its PUE as in the settings."""

    def __init__(self, folder: Path, pue: str, timezone: str) -> None:
        self.site = samples.new_site(folder, site_zone=ZONE, site_pue=pue, site_timezone=timezone)
        self.terms = replace(self.site.terms, sources={ZONE: (SERIES,)})

    def deliver(self, works: Sequence[Work], now: int) -> None:
        """Jobs as Slurm tells them, and their nodes' rows."""
        for at in range(0, len(works), SEGMENT_JOBS):
            part = works[at : at + SEGMENT_JOBS]
            segment = samples.segment([row for work in part for row in _rows(work)], sequence=at + 1)
            with self.site.database.write() as session:
                record_jobs(session, [_job(work) for work in part], self.terms)
                receipt = store_segment(session, parse_segment(segment, now), self.terms, now)
            if receipt.refused:
                raise RuntimeError(receipt.refused[0].reason)

    def learn(self, series: Iterable[Period], now: int) -> None:
        """The provider answers at last; what that touches is recalculated."""
        with self.site.database.write() as session:
            source = intensity.source_of(session, ZONE, *SERIES)
            intensity.keep(session, source, series, now)
        with self.site.database.write() as session:
            recalculate.refresh(session, self.terms, 0, now)
        left = 1
        while left:
            with self.site.database.write() as session:
                left = recalculate.sweep(session, self.terms)

    def found(self) -> Found:
        """What a report would read."""
        with self.site.database.read() as session:
            slots = session.execute(
                select(Job.job_id_raw, JobSlot.slot, JobSlot.carbon_ug).join(Job, Job.id == JobSlot.job_id)
            )
            by_job = {(job, slot): grams or 0 for job, slot, grams in slots}
            days = {day.start: day.carbon_ug or 0 for day in totals.days(session, 0, 1 << 40)}
        return Found(by_job, days)

    def day(self, slot: int) -> int:
        """The first second of the site's day that a slot lies in."""
        return self.terms.days.start(slot)

    def close(self) -> None:
        """Give the database back."""
        self.site.database.close()


def _rows(work: Work) -> list[dict[str, object]]:
    end = work.start + work.seconds
    rows = [samples.ledger(job_id=work.number, run=RUN, opened=work.start, closed=end)]
    for slot, energy_uj in by_slot(work, SLOT_S).items():
        here_us = (min(end, slot + SLOT_S) - max(work.start, slot)) * 10**6
        cpu = samples.share(energy_uj, metered_us=here_us)
        given = {"job_id": work.number, "run": RUN, "opened": work.start, "slot": slot, "alloc_us": here_us}
        rows.append(samples.job_slot({"cpu": cpu}, **given))
    return rows


def _job(work: Work) -> SlurmJob:
    times = {"submit": work.start, "eligible": work.start, "start": work.start, "end": work.start + work.seconds}
    return samples.job(job_id_raw=work.number, job_id=str(work.number), elapsed_s=work.seconds, **times)
