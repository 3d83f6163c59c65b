# SPDX-License-Identifier: MIT
"""Sums beyond 64 bits are exact on each kind of database, whatever is added to them and taken away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from accounting.db.fixtures import Backend
from accounting.delivery.test_store import deliver, only, shown, tell
from accounting.samples import JOB, NOW, SLOT, job, job_slot, ledger, node_slot, segment, share
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.db.large_sums import LARGE, MOST, divided
from carbon_acct.db.models import DaySum, JobDay, SiteSlot
from carbon_acct.queries import totals
from carbon_acct.queries.power import power
from carbon_acct.queries.site_energy import site_energy
from carbon_acct.site import Site
from carbon_collector.units import DAY_S

HUGE = 2**63 - 1
FIGURES = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(-(2**70), 2**70), min_size=1)


@given(FIGURES)
def test_parts_add_up(figures: dict[str, int]) -> None:
    """Whatever a sum has, its parts add up to it, none exceeds 64 bits, and there is one where one is enough."""
    parts = divided(figures)
    assert {name: sum(part[name] for part in parts) for name in figures} == figures
    assert all(abs(amount) <= MOST for part in parts for amount in part.values())
    assert len(parts) == max(1, *(-(-abs(amount) // MOST) for amount in figures.values()))
    assert 2 * LARGE < MOST  # what is added unseen


@pytest.mark.each_kind
def test_a_roll_up_beyond_64_bits(backend: Backend) -> None:
    """Two jobs whose days nearly fill 64 bits come into one roll-up, an honest job is added to it, and one of the two
    goes again: each sum is exact, nobody's transaction fails, and what is small again has one row.
    """
    second = job(job_id_raw=8, job_id="8", nodelist="n8")
    failed = replace(second, state="FAILED")
    with backend.site() as site:
        tell(site, JOB, failed)
        deliver(site, segment([ledger(), job_slot()]))
        deliver(site, segment([ledger(job_id=8), job_slot(job_id=8)], node="n8"))
        with site.database.write() as session:  # to deliver as much would take hundreds of nodes
            for table in (JobDay, DaySum):
                session.execute(update(table).values(energy_uj=HUGE, cpu_uj=HUGE, facility_uj=HUGE))
        tell(site, second)
        assert _rolled(site) == {"COMPLETED": (2, 2 * HUGE, 2 * HUGE)}
        tell(site, job(job_id_raw=9, job_id="9", nodelist="n9"))
        assert not deliver(site, segment([ledger(job_id=9), job_slot(job_id=9)], node="n9")).refused
        assert _rolled(site) == {"COMPLETED": (3, 2 * HUGE + 1100, 2 * HUGE + 1000)}
        tell(site, failed, replace(JOB, state="FAILED"))
        assert _rolled(site) == {"COMPLETED": (1, 1100, 1000), "FAILED": (2, 2 * HUGE, 2 * HUGE)}
        with site.database.read() as session:
            assert [row.part for row in session.scalars(select(DaySum).where(DaySum.state == "COMPLETED"))] == [0]


def _rolled(site: Site) -> dict[str, tuple[int, int, int]]:
    """Return the number of jobs, their energy and that of their CPUs, by state. All ways to ask agree."""
    found: dict[str, tuple[int, int, int]] = {}
    with site.database.write() as session:
        for row in session.scalars(select(DaySum)):
            values = (row.jobs, row.energy_uj, row.cpu_uj)
            assert all(isinstance(value, int) and abs(value) < 2**63 for value in values)
            before = found.get(row.state, (0, 0, 0))
            found[row.state] = (before[0] + values[0], before[1] + values[1], before[2] + values[2])
        jobs, energy, _ = (sum(column) for column in zip(*found.values(), strict=True))
        (day,) = totals.days(session, 0, NOW)
        assert (day.jobs, day.energy_uj) == (jobs, energy)
        assert site_energy(session, site.terms, 0, NOW).jobs.energy_uj == energy
    return found


@pytest.mark.each_kind
def test_a_site_slot_beyond_64_bits(backend: Backend) -> None:
    """On top of sums that nearly fill 64 bits nodes go on to deliver, and the balance of the site stays exact; what
    nobody metered stays unknown.
    """
    names = ("cpu_uj", "cpu_jobs_uj", "elapsed_us")
    with backend.site() as site:
        tell(site, JOB)
        deliver(site, segment([ledger(), job_slot(), node_slot()]))
        with site.database.write() as session:
            before = session.execute(select(*(getattr(SiteSlot, name) for name in names))).one()
            session.execute(update(SiteSlot).values(dict.fromkeys(names, HUGE)))
        for n in (2, 3):
            body = segment([ledger(), job_slot(), node_slot()], node=f"n{n}")
            assert not deliver(site, body).refused
        with site.database.write() as session:
            rows = session.scalars(select(SiteSlot)).all()
            assert all(abs(getattr(row, name)) < 2**63 for row in rows for name in names)
            assert [sum(getattr(row, name) for row in rows) for name in names] == [HUGE + 2 * one for one in before]
            balance = totals.conservation(session)
            assert (balance.components["cpu"].metered_uj, "gpu" in balance.components) == (HUGE + 2 * before[0], False)
            assert site_energy(session, site.terms, 0, NOW).idle.energy_uj == balance.total.idle_uj


@pytest.mark.each_kind
def test_days_of_a_job_beyond_64_bits(backend: Backend) -> None:
    """A job of two days that nearly fill 64 bits each spoils neither the estimate of another job nor an answer."""
    with backend.site(aggregator_estimate="yes") as site:
        two_days = job(start=SLOT - DAY_S, end=SLOT + 70, elapsed_s=DAY_S + 70)
        tell(site, two_days)
        rows: list[Any] = [ledger(opened=SLOT - DAY_S, run=f"start:{SLOT - DAY_S}", closed=SLOT + 70)]
        rows += [
            job_slot(slot=SLOT - 900 * n, alloc_us=900_000_000, opened=SLOT - DAY_S, run=f"start:{SLOT - DAY_S}")
            for n in range(97)
        ]
        deliver(site, segment(rows))
        with site.database.write() as session:
            assert session.scalars(select(JobDay.day)).all() != []
            session.execute(update(JobDay).values(cpu_uj=HUGE, energy_uj=HUGE))
            assert power(session, EVERYTHING, "batch", "", SLOT + 100).basis in ("partition", None)
        later = SLOT + 2 * DAY_S
        tell(site, job(job_id_raw=9, job_id="9", nodelist="n9", submit=later, start=later, end=later + 60))
        (record,) = shown(site, jobs=["9"])
        assert record.estimated_uj
        assert record.estimated_uj < 10**15


@pytest.mark.each_kind
def test_a_forged_power_spoils_no_estimate(backend: Backend) -> None:
    """A row with much energy in a microsecond, of a node that the job has, makes no estimate for the job's other nodes
    that no node can have; what the row says counts, and the deliveries of others go on.
    """
    row = {"other": share(6 * 10**12 - 1, metered_us=1, static_uj=0)}
    with backend.site(aggregator_estimate="yes") as site:
        tell(site, job(nodelist="n[1-2]", nnodes=2, ncpus=64))
        assert not deliver(site, segment([ledger(), job_slot(row, alloc_us=1)])).refused
        record = only(site)
        assert record.energy_uj == 6 * 10**12 - 1
        assert record.estimated_uj is not None
        assert record.estimated_uj <= 175_000 * 120 * 10**6
