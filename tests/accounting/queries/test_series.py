# SPDX-License-Identifier: MIT
"""Power over time: the points of a run add up to its energy, and only who may see the run gets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounting.queries.test_usage import NOW, Event, events, happen
from accounting.samples import new_site
from carbon_acct.access.viewer import EVERYTHING, Viewer
from carbon_acct.db.retention import Horizons, prune
from carbon_acct.known import sum_known
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.jobs import list_jobs
from carbon_acct.queries.series import power_series

NAMES = ("energy_uj", "cpu_uj", "dram_uj", "gpu_uj", "other_uj", "estimated_uj", "carbon_ug")
JOBS = [str(number) for number in range(1, 5)]
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
