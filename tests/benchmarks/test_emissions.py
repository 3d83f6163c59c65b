# SPDX-License-Identifier: MIT
"""The benchmark of emission factors: its judge can tell a wrong factor, its jobs are whole, its program runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks/emissions.py"
KWH = 3_600_000_000_000


def test_judge_counts_every_second() -> None:
    """A hundred seconds on each side of a border cost what the grid had there, whatever the other seconds of the job had."""
    from month.reference import Judge
    from month.work import Phase, Work

    judge = Judge(0, 900, [100, 300, 7, 7], lambda slot: (13, 10) if slot else (1, 1))
    verdict = judge.judge(Work(1, 800, (Phase(100, 36 * 10**9), Phase(100, 72 * 10**9))))

    assert verdict.by_slot == {0: 100 * 10**6, 900: 780 * 10**6}
    assert verdict.rules[1:3] == pytest.approx((200 * 3.6 * 10**6, 100 * 3.6 * 10**6))
    assert verdict.rules[3] == pytest.approx(103.5 * 3.6 * 10**6)


@pytest.mark.parametrize(("half", "rounded"), [(1, 0), (3, 2), (5, 2)])
def test_judge_rounds_half_to_even(half: int, rounded: int) -> None:
    """As the methodology says, and by its own arithmetic: `half` halves of a microgram."""
    from month.reference import Judge
    from month.work import Phase, Work

    judge = Judge(0, 900, [1], lambda _: (1, 1))

    assert judge.judge(Work(1, 0, (Phase(1, half * KWH // 2 // 10**6),))).by_slot == {0: rounded}


def test_nodes_deliver_all_of_the_energy() -> None:
    """What the product is given by slot is what the jobs draw by second."""
    from month.work import by_slot, jobs

    for work in jobs(seed=5, count=50, start=0, end=30 * 86_400):
        slots = by_slot(work, 900)

        assert sum(slots.values()) == sum(p.seconds * p.microwatts for p in work.phases)
        assert min(slots) <= work.start < min(slots) + 900
        assert max(slots) < work.start + work.seconds <= max(slots) + 900


@pytest.mark.slow
def test_the_program_compares_and_prints_the_others() -> None:
    """Every rule in one table; to the microgram the same as brute force."""
    run = subprocess.run(
        [sys.executable, str(PROGRAM), "--jobs", "40"], check=True, capture_output=True, text=True, timeout=120
    )

    for name in ("ours (slot by slot)", "mean over the job", "intensity at the start", "mean of the year"):
        assert name in run.stdout
    assert "equal brute force, second by second, to the microgram: pass" in run.stdout


def test_a_month_put_into_the_tables_is_what_the_product_makes(tmp_path: Path) -> None:
    """Days and roll-ups that the product computes from the same slots are the same: nothing is measured on a made-up shape."""
    from month.many import fill
    from month.site import Site
    from sqlalchemy import delete, select

    from carbon_acct.db.models import DaySum, Job, JobDay, JobSlot
    from carbon_acct.db.rows import table_of
    from carbon_acct.sums.day_sum import groups_of, recompute

    start = 900 * 1_400_000 // 86_400 * 86_400
    site = Site(tmp_path, "1.3", "UTC")
    slots = fill(site.site, tmp_path / "carbon-acct.db", 150, (start, start + 30 * 86_400), lambda _: None)
    days, database = site.terms.days, site.site.database

    def content() -> list[set[tuple[object, ...]]]:
        with database.read() as session:
            return [{tuple(row) for row in session.execute(select(*table_of(t).columns))} for t in (JobDay, DaySum)]

    put = content()
    with database.write() as session:
        pairs = session.execute(select(JobSlot.job_id, JobSlot.slot)).all()
        groups = groups_of({job.id: job for job in session.scalars(select(Job))})
        for table in (DaySum, JobDay):
            session.execute(delete(table))
        wanted = {(job, days.start(slot)) for job, slot in pairs}
        recompute(session, {(job, day, days.after(day)) for job, day in wanted}, groups)
    made = content()
    site.close()

    assert slots == len(pairs) > 150
    assert put == made


@pytest.mark.slow
def test_recalculate_checks_what_it_did() -> None:
    """A small month recalculated: every sum by its own road."""
    run = subprocess.run(
        [sys.executable, str(PROGRAM.with_name("recalculate.py")), "--jobs", "120"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert "agree to the microgram: pass" in run.stdout
