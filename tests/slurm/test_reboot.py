# SPDX-License-Identifier: MIT
"""A node crashes under its jobs and comes up again, with a new boot id, clock and counters that begin at zero."""

from __future__ import annotations

import time

import pytest

from slurm.aftermath import Aftermath
from slurm.cluster import Cluster
from slurm.conftest import TruthOf
from slurm.jobs import burn, running
from slurm.product import Product
from slurm.reboot import rebooted

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

STREAMS = "select distinct s.stream from node_slot s join node n on n.id = s.node_id where n.name = 'n2'"
WORK_S, DARK_S = 8, 6
"""How long the jobs run and the node is off. What slurmd registers without is missed only once it should have been there:
BatchStartTimeout (2 s) and MessageTimeout (10 s) after its start."""


def start_now(cluster: Cluster, job: int) -> None:
    """Have a requeued job start, which Slurm would let wait for two minutes."""
    deadline = time.monotonic() + 60
    while cluster.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_reboot_under_open_ledgers(cluster: Cluster, product: Product, truth: TruthOf, aftermath: Aftermath) -> None:
    """Jobs that the crash cut off are there once, with a gap; those before and after it are whole; counters at zero
    are no energy.
    """
    before = cluster.sbatch("bob", "-w", "n2", script=burn(2))
    cluster.wait_for([before])
    requeued = cluster.sbatch("alice", "-w", "n2", "-n", "2", "--requeue", script=burn(WORK_S + 4))
    failed = cluster.sbatch("bob", "-w", "n2", "--no-requeue", script=burn(300))
    running(cluster, requeued)
    running(cluster, failed)
    time.sleep(WORK_S)

    with rebooted(cluster, "n2", dark_s=DARK_S) as forget_jobs:
        assert cluster.wait_for([failed]) == {str(failed): "NODE_FAIL"}
        forget_jobs()
        after = cluster.sbatch("bob", "-w", "n2", script=burn(3))
        start_now(cluster, requeued)
        assert cluster.wait_for([after, requeued]) == {str(after): "COMPLETED", str(requeued): "COMPLETED"}
        aftermath.check([before, requeued, failed, after], cut=[(requeued, 0), failed])
    # A collector that knows nothing of this boot reads the counters for the first time a moment after the prolog.
    first = cluster.sbatch("bob", "-w", "n2", script=burn(2))
    cluster.wait_for([first])
    last = cluster.sbatch("bob", "-w", "n2", script=burn(3))
    cluster.wait_for([last])

    aftermath.check([before, requeued, failed, after, first, last], cut=[(requeued, 0), failed, first])
    assert [(run.number, run.state) for run in aftermath.runs([requeued])] == [(0, "NODE_FAIL"), (1, "COMPLETED")]
    assert len(product.rows(STREAMS)) == 1
    for job in (after, last):
        assert truth(job, "n2", 1).agrees(product.energy_uj(job, "cpu"), "cpu", 0.05)
