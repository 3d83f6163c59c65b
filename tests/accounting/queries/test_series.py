# SPDX-License-Identifier: MIT
"""Power over time: the points of a run add up to its energy, and only who may see the run gets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounting.queries.test_usage import NOW, Event, events, happen
from accounting.samples import job, new_site, segment
from carbon_acct.access.viewer import EVERYTHING, Viewer
from carbon_acct.db.retention import Horizons, prune
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.known import sum_known
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.jobs import list_jobs
from carbon_acct.queries.series import power_series
from carbon_acct.sync.jobs import record_jobs
from collector.world import Keeper, World, make_job

NAMES = ("energy_uj", "cpu_uj", "dram_uj", "gpu_uj", "other_uj", "estimated_uj", "carbon_ug")
JOBS = [str(number) for number in range(1, 5)]
SECOND_US = 1_000_000
ALICE = Viewer(1, sees_all=False, user="alice")


@pytest.mark.slow
@hypothesis_settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(history=st.lists(events, min_size=1, max_size=6), folded=st.integers(-1, 5))
def test_points_add_up_to_the_job(history: list[Event], folded: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Over slots, and over days whose slots were folded, each figure adds up to that of the job, to the microjoule."""
    site = new_site(tmp_path_factory.mktemp("series"), site_timezone="Europe/Berlin")
    try:
        happen(site, history)
        border = 1_351_202_400 + 86_400 * folded  # 2012-10-26 in Berlin, and later, also off a midnight after the 28th
        if folded >= 0:
            prune(site.database, Horizons(delivered=border, slots=border, jobs=0), lambda _: None)
        for viewer in (EVERYTHING, ALICE):
            with site.database.read() as session:
                filters = Filters(viewer, jobs=JOBS)
                records = list_jobs(session, filters)
                found = power_series(session, filters, NOW)
            assert [one.job_id for one in found] == [record.job_id for record in records]
            for one, record in zip(found, records, strict=True):
                for name in NAMES:
                    assert sum_known(getattr(point, name) for point in one.points) == getattr(record, name), name
                assert all(point.start < point.end for point in one.points)
                edges = [edge for point in one.points for edge in (point.start, point.end)]
                assert edges == sorted(edges)
    finally:
        site.database.close()


def test_foreign_jobs_are_jobs_that_never_were(tmp_path: Path) -> None:
    """A run of somebody else has no series for a user without rights."""
    site = new_site(tmp_path)
    happen(site, [Event(1, "COMPLETED", 1, 0, 1000, 5)])
    with site.database.read() as session:
        assert [one.job_id for one in power_series(session, Filters(EVERYTHING, jobs=["1"]), NOW)] == ["1"]
        assert power_series(session, Filters(ALICE, jobs=["1"]), NOW) == []
    site.database.close()


def test_what_a_node_metered_is_what_the_curve_shows(tmp_path: Path) -> None:
    """From the counters of a node to the curve: each minute has the watts of CPU that the job drew in it, and all points together
    have the energy of the job, to the microjoule.
    """
    world = World()
    world.offset_us += (600 * SECOND_US) - world.wall_us % (900 * SECOND_US)
    keeper = Keeper(world)
    keeper.step()
    keeper.open(make_job(7, cpus=8))
    world.start_job("7")
    keeper.step()
    start = world.wall_us // SECOND_US
    watts = [100 + 20 * (at % 5) for at in range(25)]
    for each in watts:
        for _ in range(3):
            drawn = {"package-0": each, "package-1": each, "dram-0": 5, "dram-1": 5}
            world.run(20 * SECOND_US, drawn, {"7": {0: 80 * SECOND_US, 1: 80 * SECOND_US}})
            keeper.step()
    keeper.close(make_job(7))
    keeper.step()
    end = world.wall_us // SECOND_US
    body = segment([record for _, record in keeper.records()], created=end)
    known = job(start=start, end=end, submit=start, eligible=start, elapsed_s=end - start, restarts=0, ncpus=8)
    site = new_site(tmp_path)
    site.database.run(lambda session: record_jobs(session, [known], site.terms))
    receipt = site.database.run(lambda session: store_segment(session, parse_segment(body, end), site.terms, end))
    with site.database.read() as session:
        filters = Filters(EVERYTHING, jobs=["7"])
        (record,) = list_jobs(session, filters)
        (series,) = power_series(session, filters, end, finest=True)
    site.database.close()

    assert not receipt.refused
    assert series.step_s == 60
    assert len(series.points) == 25
    for name in NAMES:
        assert sum_known(getattr(point, name) for point in series.points) == getattr(record, name), name
    for point, each in zip(series.points, watts, strict=True):
        assert (point.cpu_uj or 0) / 60e6 == pytest.approx(2 * each, rel=0.001)
