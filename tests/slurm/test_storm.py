# SPDX-License-Identifier: MIT
"""A storm of very short jobs: STORM_JOBS of them, 200 in the default run, as fast as Slurm can start and end them.

`STORM_JOBS=1000 .venv/bin/pytest -m slurm -s tests/slurm/test_storm.py` is the full storm; it prints the figures.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from slurm.aftermath import Aftermath
from slurm.cluster import Cluster
from slurm.layout import NODES
from slurm.processes import peak_mib
from slurm.witness import Stay

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake"), pytest.mark.timeout(900)]

JOBS = int(os.environ.get("STORM_JOBS", "200"))
ARRAY = 250
BLINK = "#!/bin/sh\ntrue\n"


def scripts_ms(stays: list[Stay]) -> list[float]:
    """Milliseconds from the first to the last of a job's prologs, the product's among them, and of its epilogs."""
    times = [stay.times for stay in stays]
    return [1000 * (t[i + 1] - t[i]) for t in times for i in (0, 2) if t[i] is not None and t[i + 1] is not None]  # type: ignore[operator]


def memory_mib(cluster: Cluster, node: str) -> float:
    """The most resident memory that a node's collector has had, in MiB."""
    return max(peak_mib(Path(f"/proc/{pid}/status")) for pid in cluster.collectors(node))


def test_a_storm_of_short_jobs(cluster: Cluster, aftermath: Aftermath) -> None:
    """Every one of them ends well and is there once, wholly covered, on the node where it was."""
    started = time.monotonic()
    sizes = [min(ARRAY, JOBS - first) for first in range(0, JOBS, ARRAY)]
    arrays = [cluster.sbatch("bob", f"--array=1-{size}", script=BLINK) for size in sizes]
    states = cluster.wait_for(arrays, timeout=600)
    ended = time.monotonic()
    aftermath.check(arrays, timeout=120)
    accounted = time.monotonic()

    assert list(states.values()) == ["COMPLETED"] * JOBS
    jobs = set(cluster.raw_ids(arrays))
    stays = [stay for stay in cluster.stays() if stay.job_id in jobs]
    hooks = scripts_ms(stays)
    shares = {node: sum(stay.node == node for stay in stays) for node in NODES}
    memory = {node: round(memory_mib(cluster, node), 1) for node in NODES}
    print(f"\nstorm: {JOBS} jobs in {ended - started:.0f} s, accounted and checked {accounted - ended:.0f} s later")
    print(f"storm: jobs by node {shares}; collectors' most memory in MiB {memory}")
    print(
        f"storm: all prologs or epilogs of a job {statistics.median(hooks):.1f} ms (median), {max(hooks):.0f} ms (most)"
    )
    assert sum(shares.values()) == JOBS
