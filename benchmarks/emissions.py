# SPDX-License-Identifier: MIT
"""Emissions: a month of jobs against brute force, to the microgram, and how wrong simpler rules are for the same jobs.

The jobs go the whole way through the product: delivered, given the yearly factor while no provider answers, then with the series
again when the series of quarters of an hour is there. The grid's series and the jobs are SYNTHETIC and always the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from month import grid, work
from month.reference import RULES, Judge
from month.site import Site
from table import percentile, render

from carbon_acct.grid.provider import Period

if TYPE_CHECKING:
    from collections.abc import Sequence

    from month.reference import Verdict
    from month.site import Found
    from month.work import Work

TIMEZONE = "Europe/Berlin"
BERLIN = ZoneInfo(TIMEZONE)
# Its last Sunday has 23 hours.
MONTH, AFTER = (int(datetime(2026, month, 1, tzinfo=BERLIN).timestamp()) for month in (3, 4))
YEAR = int(datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp())
NEW_PUE = int(datetime(2026, 3, 16, tzinfo=BERLIN).timestamp())
PUE = "1.35 2026-03-16:1.28"
OURS = "ours (slot by slot)"
UG_PER_KG = 10**9
BANDS: tuple[tuple[str, int, int], ...] = (
    ("all jobs", 0, 1 << 40),
    ("jobs of up to 1 h", 0, 3600),
    ("jobs of 1 h to 12 h", 3600, 43_200),
    ("jobs of more than 12 h", 43_200, 1 << 40),
)


def pue(slot: int) -> tuple[int, int]:
    """PUE as the judge has it: in whole numbers."""
    return (128, 100) if slot >= NEW_PUE else (135, 100)


def main() -> int:
    """Run both, compare, print the table; the exit status is 1 where one microgram differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    values = grid.year(options.seed)
    works = work.jobs(options.seed, options.jobs, MONTH, AFTER)
    judge = Judge(YEAR, grid.STEP_S, values, pue)
    verdicts = {w.number: judge.judge(w) for w in works}
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), PUE, TIMEZONE)
        site.deliver(works, AFTER)
        site.learn(_periods(values), AFTER)
        found = site.found()
        problems = _compare(found, verdicts, site)
        site.close()
    print(_head(works, values))
    print(render(["error of a job's grams, %", "p50", "p90", "max", "all jobs"], _table(works, verdicts, found)))
    print(f"\n{_verdict(found, problems)}")
    return 1 if problems else 0


def _periods(values: Sequence[int]) -> list[Period]:
    starts = range(YEAR, YEAR + len(values) * grid.STEP_S, grid.STEP_S)
    return [Period(at, at + grid.STEP_S, str(g)) for at, g in zip(starts, values, strict=True) if MONTH <= at < AFTER]


def _compare(found: Found, verdicts: dict[int, Verdict], site: Site) -> list[str]:
    """What differs, to the microgram: slots of jobs, days, the month."""
    slots = {(job, slot): ug for job, verdict in verdicts.items() for slot, ug in verdict.by_slot.items()}
    days: Counter[int] = Counter()
    for (_, slot), ug in slots.items():
        days[site.day(slot)] += ug
    checks = (
        ("slots of jobs", found.by_slot, slots),
        ("days", found.by_day, dict(days)),
        ("the month", {0: found.total}, {0: sum(slots.values())}),
    )
    return [what for what, ours, theirs in checks if ours != theirs]


def _table(works: Sequence[Work], verdicts: dict[int, Verdict], found: Found) -> list[list[str]]:
    ours: Counter[int] = Counter()
    for (job, _), ug in found.by_slot.items():
        ours[job] += ug
    rows: list[list[str]] = []
    for name, least, most in BANDS:
        here = [w.number for w in works if least < w.seconds <= most]
        if here:
            rows.append([f"{name} ({len(here)})"])
            true = {job: float(sum(verdicts[job].by_slot.values())) for job in here}
            rows.append([OURS, *_errors(true, {job: float(ours[job]) for job in here})])
            for at, rule in enumerate(RULES):
                rows.append([rule, *_errors(true, {job: verdicts[job].rules[at] for job in here})])
    return rows


def _errors(true: dict[int, float], said: dict[int, float]) -> list[str]:
    errors = [abs(said[job] / true[job] - 1) * 100 for job in true]
    total = (sum(said.values()) / sum(true.values()) - 1) * 100
    return [*(f"{percentile(errors, p):.2f}" for p in (50, 90, 100)), f"{total:+.2f}"]


def _head(works: Sequence[Work], values: Sequence[int]) -> str:
    here = values[(MONTH - YEAR) // grid.STEP_S : (AFTER - YEAR) // grid.STEP_S]
    return (
        f"{len(works)} synthetic jobs in March 2026 ({TIMEZONE}) on a synthetic grid: {min(here)} to {max(here)} g/kWh,"
        f" mean {sum(here) / len(here):.1f}, of the year {sum(values) / len(values):.1f}; PUE {PUE}\n"
    )


def _verdict(found: Found, problems: Sequence[str]) -> str:
    compared = f"{len(found.by_slot)} slots of jobs, {len(found.by_day)} days and the month ({found.total} ug)"
    if problems:
        return f"against brute force, second by second: {', '.join(problems)} differ: FAIL"
    return f"{compared} equal brute force, second by second, to the microgram: pass"


if __name__ == "__main__":
    sys.exit(main())
