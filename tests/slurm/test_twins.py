# SPDX-License-Identifier: MIT
"""Jobs that end together between two readings: each pays for what it used itself."""

from __future__ import annotations

import time
from typing import NamedTuple

import pytest

from slurm.cluster import Cluster
from slurm.conftest import TruthOf
from slurm.jobs import running
from slurm.layout import NODES
from slurm.product import Product

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

ROUNDS = 5
LENGTH_S = 10
START_S = 3
BURN = "#!/bin/bash\nwhile [ $EPOCHSECONDS -lt {end} ]; do :; done\n"
SLEEP = '#!/bin/bash\nwhile [ $EPOCHSECONDS -lt {end} ]; do sleep "0.0$RANDOM"; done\n'
TOLERANCE = 0.03


class Twins(NamedTuple):
    """Two jobs on a node that end in the same second: one burns a CPU to its end, one sleeps with twice as many."""

    node: str
    burner: int
    sleeper: int


def _pair(cluster: Cluster, node: str, end: int) -> Twins:
    burner = cluster.sbatch("alice", "-w", node, "-n", "2", script=BURN.format(end=end))
    return Twins(node, burner, cluster.sbatch("bob", "-w", node, "-n", "4", script=SLEEP.format(end=end)))


def test_twins_that_end_together_each_pay_for_themselves(cluster: Cluster, product: Product, truth: TruthOf) -> None:
    """Of 20 pairs that end in the same second, with 10 s between readings, 38 of 40 jobs are within 3 % of the truth.

    The others are within 6 %: where the machine is busy, the collector and the simulator read at other moments.

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

    off = {}
    for pair in pairs:
        for job, cpus in ((pair.burner, 2), (pair.sleeper, 4)):
            least, most = (each.cpu_uj for each in truth(job, pair.node, cpus))
            found = product.energy_uj(job, "cpu", pair.node)
            off[job] = max(least / found - 1, found / most - 1, 0.0)
    print("largest deviations from the truth:", [f"{each:.2%}" for each in sorted(off.values())[-8:]])

    assert len(pairs) == 20
    within = sum(each <= TOLERANCE for each in off.values())
    assert within >= 38, off
    assert max(off.values()) <= 2 * TOLERANCE, off
