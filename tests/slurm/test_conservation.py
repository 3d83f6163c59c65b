# SPDX-License-Identifier: MIT
"""Conservation: jobs + idle + system = counters, to the microjoule, on every node in every slot."""

from __future__ import annotations

import pytest

from simulator.truth import Log
from slurm.cluster import Cluster
from slurm.jobs import burn
from slurm.layout import NODES
from slurm.product import Product
from slurm.stock import RANGES, last_readings, take_stock

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]


def test_every_slot_of_every_node_adds_up(cluster: Cluster, product: Product) -> None:
    """Counters - jobs - idle - system is 0 in every row, with jobs of every kind behind it."""
    jobs = [cluster.sbatch("alice", "-n", "3", script=burn(2)) for _ in range(4)]
    cluster.wait_for(jobs)
    product.wait_for(jobs)

    differences = product.differences()

    assert {node for node, *_ in differences} == set(NODES)
    assert set(differences.values()) == {0}


def test_what_is_metered_is_what_the_counters_counted(cluster: Cluster, product: Product) -> None:
    """Between two readings the product's node totals grow by exactly what the counters did, wraps included."""
    first = take_stock(cluster, product)
    second = take_stock(cluster, product)

    assert set(second) == set(NODES)
    for node, stock in second.items():
        assert stock.metered_since(first[node]) == stock.counted_since(first[node])
        assert min(stock.counted_since(first[node]).values()) > 0


def test_the_readings_are_the_simulators_own(cluster: Cluster) -> None:
    """A reading lies between what the simulator had counted shortly before and shortly after it."""
    for node in cluster.nodes:
        wall, readings = last_readings(cluster, node.name)
        truth = Log(cluster.layout.truth, node)
        early, late = (truth.at(wall + offset) for offset in (-0.5, 0.5))
        for zone, uj in readings.items():
            scale = RANGES.get(zone.partition("-")[0])
            low = early[zone] % scale if scale else early[zone]
            distance = (uj - low) % scale if scale else uj - low
            assert 0 <= distance <= late[zone] - early[zone]


def test_status_says_so(cluster: Cluster) -> None:
    """`carbon-mgr status` ends with a difference of 0 and says that the counters are simulated."""
    lines = cluster.run(["carbon-mgr", "status"]).stdout.splitlines()

    assert lines[-1].split()[0] == "total"
    assert lines[-1].split()[-1] == "0"
    assert any("SIMULATED" in line for line in lines)
