# SPDX-License-Identifier: MIT
"""Who may see whose jobs, beside what sacct shows on the same cluster at the same time."""

from __future__ import annotations

import pytest

from slurm.cluster import Cluster
from slurm.privacy import JOBS, VIEWERS, cells, run_jobs

pytestmark = pytest.mark.slurm


def test_matrix(cluster: Cluster) -> None:
    """Under every PrivateData, for every kind of viewer and of query, carbon-acct shows the jobs that sacct shows;
    the matrix is not trivial, and nobody without rights is told that there is something.
    """
    found = list(cells(cluster, run_jobs(cluster)))
    differing = [cell for cell in found if cell.sacct != cell.ours]
    assert not differing
    seen = {(c.where, c.private, c.viewer): c for c in found if c.query == "everybody's"}
    assert all(len(seen["slurmdbd.conf", "none", viewer].ours) == len(JOBS) for viewer in VIEWERS)
    private = {viewer: len(seen["slurmdbd.conf", "jobs", viewer].ours) for viewer in VIEWERS}
    assert list(private.values()) == [2, 1, 3, 0, 0, 4, 4]
    assert all(len(seen["slurm.conf", "jobs", viewer].ours) == len(JOBS) for viewer in VIEWERS)
