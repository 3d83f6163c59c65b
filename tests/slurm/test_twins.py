# SPDX-License-Identifier: MIT
"""Jobs that end together between two readings: each pays for what it used itself.

`TWIN_ROUNDS=5 .venv/bin/pytest -m slurm -s tests/slurm/test_twins.py` has 20 pairs; the default run has 8.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import pytest

from carbon_collector.units import US_PER_S
from slurm.cluster import Cluster
from slurm.conftest import TruthOf
from slurm.jobs import running
from slurm.layout import NODES
from slurm.product import Product

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

ROUNDS = int(os.environ.get("TWIN_ROUNDS", "2"))
LENGTH_S = 10
START_S = 3
BURN = "#!/bin/bash\nwhile [ $EPOCHSECONDS -lt {end} ]; do :; done\n"
SLEEP = '#!/bin/bash\nwhile [ $EPOCHSECONDS -lt {end} ]; do sleep "0.0$RANDOM"; done\n'
TOLERANCE = 0.03
STEP_S = 0.05
"""Seconds of CPU time: the simulator looks at the cgroups at its own steps."""
SHARED_TOLERANCE = 0.35
"""The share of its energy by which a job may be off whose last use was shared by a rule, as its method says."""
MOST_SHARED = ROUNDS * len(NODES) // 2
"""Jobs whose end may be seen too late: a quarter. None was in the runs so far; the machine may be held up by others."""


class Twins(NamedTuple):
    """Two jobs on a node that end in the same second: one burns a CPU to its end, one sleeps with twice as many."""

    node: str
    burner: int
    sleeper: int


def _pair(cluster: Cluster, node: str, end: int) -> Twins:
    burner = cluster.sbatch("alice", "-w", node, "-n", "2", script=BURN.format(end=end))
    return Twins(node, burner, cluster.sbatch("bob", "-w", node, "-n", "4", script=SLEEP.format(end=end)))


def test_twins_that_end_together_each_pay_for_themselves(cluster: Cluster, product: Product, truth: TruthOf) -> None:
    """Of pairs that end in the same second, with 10 s between readings, each job that is called measured is within 3 % of
    the truth, and its CPU time as well.

    Where the collector comes too late to the end of a task, the two share by a rule and their method says so. What is left
    of the error elsewhere is the meter's: the simulator and the collector step at different moments, so an interval's energy
    is of a few hundredths of a second more or less than its CPU time.

    Before, the sleeper was charged 40 % of what its neighbour had burned: both are gone when the next reading is taken.
    """
    pairs: list[Twins] = []
    for _ in range(ROUNDS):
        end = int(time.time()) + START_S + LENGTH_S
        these = [_pair(cluster, node, end) for node in NODES]
        running(cluster, these[-1].sleeper)
        pairs += these
        jobs = [job for pair in these for job in (pair.burner, pair.sleeper)]
        assert set(cluster.wait_for(jobs).values()) == {"COMPLETED"}
    product.wait_for([job for pair in pairs for job in (pair.burner, pair.sleeper)])

    off: dict[int, float] = {}
    used_s: dict[int, tuple[float, float]] = {}
    shared: set[int] = set()
    for pair in pairs:
        for job, cpus in ((pair.burner, 2), (pair.sleeper, 4)):
            true, found = truth(job, pair.node, cpus), product.energy_uj(job, "cpu", pair.node)
            off[job] = max(true.least.cpu_uj / found - 1, found / true.most.cpu_uj - 1, 0.0)
            rows = product.job(job, pair.node)
            used_s[job] = sum(row["cpu_us"] for row in rows) / US_PER_S, sum(true.least.cpu_seconds)
            if "shared" in {row["cpu_method"] for row in rows}:
                shared |= {pair.burner, pair.sleeper}  # what is next to nothing of one of them makes it no guess
    print(
        "largest deviations from the truth:", [f"{each:.2%}" for each in sorted(off.values())[-8:]], "shared:", shared
    )

    assert len(pairs) == ROUNDS * len(NODES)
    assert max(each for job, each in off.items() if job not in shared) <= TOLERANCE, (off, shared)
    for job in used_s.keys() - shared:
        assert used_s[job][0] == pytest.approx(used_s[job][1], rel=TOLERANCE, abs=STEP_S), job
    assert len(shared) <= MOST_SHARED, (off, shared)
    assert max(off.values()) <= SHARED_TOLERANCE, off
