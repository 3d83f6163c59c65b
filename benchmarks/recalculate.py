# SPDX-License-Identifier: MIT
"""Recalculation: a provider answers at last, and every slot of a month of jobs has another factor. Time, rows a second, and checks.

The grid's series and the jobs are SYNTHETIC. The database is the embedded one, with its own settings (synchronous=FULL).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from machine import describe
from month import grid
from month.many import fill
from month.site import SERIES, Site
from sqlalchemy import func, select
from table import render
from tqdm import tqdm

from carbon_acct.db.models import DaySum, JobDay, JobSlot, SlotFactor
from carbon_acct.grid import intensity
from carbon_acct.grid.provider import Period
from carbon_acct.sums import recalculate
from carbon_collector.units import UJ_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

MONTH, AFTER = (int(datetime(2026, month, 1, tzinfo=UTC).timestamp()) for month in (4, 5))
YEAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
UG_PER_G = 10**6


def main() -> int:
    """Fill, recalculate, check, print; the exit status is 1 where a check fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1_000_000)
    options = parser.parse_args()
    print(f"{describe()}\n")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        site = Site(Path(folder), "1.3", "UTC")
        with tqdm(total=options.jobs, unit=" jobs", desc="filling", disable=None, leave=False) as bar:
            slots = fill(site.site, Path(folder) / "carbon-acct.db", options.jobs, (MONTH, AFTER), bar.update)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        times = _run(site, slots)
        problems = _problems(site)
        site.close()
    both = Took(*map(sum, zip(times["refresh"], times["sweep"], strict=True)))
    rows = [
        times["refresh"].row("new factors from the series", (AFTER - MONTH) // 900, "factors"),
        times["sweep"].row("slots of jobs, their days, roll-ups", slots, "slots of jobs"),
        both.row("both", options.jobs, "jobs"),
        times["again"].row("again, with nothing to do"),
    ]
    print(f"{options.jobs:,} synthetic jobs with {slots:,} slots in April 2026; SQLite, {size / 2**20:,.0f} MiB\n")
    print(render(["every factor of the month changes", "s", "CPU s", "a second"], rows))
    print(
        f"\nslots, days, roll-ups and the factors' own sums agree to the microgram: {'FAIL: ' if problems else 'pass'}",
        *problems,
    )
    return 1 if problems else 0


class Took(NamedTuple):
    """Seconds on the wall, and of this process's CPU time."""

    wall_s: float
    cpu_s: float

    def row(self, what: str, many: int = 0, unit: str = "") -> list[str]:
        """A line of the table."""
        return [what, f"{self.wall_s:.1f}", f"{self.cpu_s:.1f}", f"{many / self.wall_s:,.0f} {unit}" if many else ""]


def _run(site: Site, slots: int) -> dict[str, Took]:
    values = grid.year(1)
    at = (MONTH - YEAR) // grid.STEP_S
    series = [
        Period(MONTH + i * 900, MONTH + (i + 1) * 900, str(values[at + i])) for i in range((AFTER - MONTH) // 900)
    ]
    with site.site.database.write() as session:
        intensity.keep(session, intensity.source_of(session, "DE", *SERIES), series, AFTER)
    times = {"refresh": _timed(lambda: _refresh(site))}
    with tqdm(total=slots, unit=" slots", desc="recalculating", disable=None, leave=False) as bar:
        times["sweep"] = _timed(lambda: _sweep(site, bar.update))
    times["again"] = _timed(lambda: (_refresh(site), _sweep(site, bar.update)))
    return times


def _refresh(site: Site) -> None:
    with site.site.database.read() as session:
        stretches = recalculate.stretches(session, 0, AFTER)
    for start, end in stretches:
        with site.site.database.write() as session:
            recalculate.refresh(session, site.terms, start, end)


def _sweep(site: Site, done: Callable[[int], object]) -> None:
    rows = 1
    while rows:
        with site.site.database.write() as session:
            rows = recalculate.sweep(session, site.terms)
        done(rows)


def _timed(call: Callable[[], object]) -> Took:
    begin, cpu = time.perf_counter(), time.process_time()
    call()
    return Took(time.perf_counter() - begin, time.process_time() - cpu)


def _problems(site: Site) -> list[str]:
    """Each sum by its own road; and each slot's grams within half a microgram a job of its energy x PUE x intensity."""
    with site.site.database.read() as session:
        roads = [session.scalar(select(func.sum(table.carbon_ug))) for table in (JobSlot, JobDay, DaySum)]
        found = [] if len(set(roads)) == 1 else [f"sums of slots, days, roll-ups: {roads}"]
        return found + _wrong_slots(session)


def _wrong_slots(session: Session) -> list[str]:
    query = select(
        SlotFactor.slot, SlotFactor.g_per_kwh, SlotFactor.revision, func.count(), func.sum(JobSlot.energy_uj)
    )
    query = query.add_columns(func.sum(JobSlot.carbon_ug)).join(JobSlot, JobSlot.factor_id == SlotFactor.id)
    wrong = []
    for slot, g_per_kwh, revision, jobs, energy, grams in session.execute(query.group_by(SlotFactor.id)):
        true = energy * Fraction(13, 10) * Fraction(g_per_kwh) * UG_PER_G / UJ_PER_KWH
        if revision < 2 or abs(grams - true) > Fraction(jobs, 2):
            wrong.append(f"slot {slot}: {grams} ug at revision {revision}, true {float(true)}")
    return wrong[:3]


if __name__ == "__main__":
    sys.exit(main())
