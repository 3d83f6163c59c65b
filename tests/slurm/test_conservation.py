# SPDX-License-Identifier: MIT
"""Conservation: jobs + idle + system = counters, to the microjoule, on every node in every slot."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from simulator.hardware import DRAM_RANGE_UJ, PACKAGE_RANGE_UJ
from simulator.truth import Log
from slurm.cluster import Cluster
from slurm.jobs import burn
from slurm.layout import NODES
from slurm.product import Product

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

RANGES = {"package": PACKAGE_RANGE_UJ, "dram": DRAM_RANGE_UJ}
COMPONENTS = {"package": "cpu", "dram": "dram"}


def last_readings(cluster: Cluster, node: str) -> tuple[float, dict[str, int]]:
    """Wall-clock time and counters of the collector's last reading, from its state on disk."""
    _, _, body = (cluster.layout.node(node) / "state" / "state.json").read_text().partition("\n")
    snapshot = json.loads(body)["last"]
    return snapshot["wall_us"] / 1e6, snapshot["readings"]


class Stock(NamedTuple):
    """Counters at the last reading of a node, and what the product has metered up to that reading."""

    readings: dict[str, int]
    metered: dict[str, int]


def take_stock(cluster: Cluster, product: Product) -> dict[str, Stock]:
    """Let every node work, end its collector, and take in by hand what it has sealed."""
    jobs = [cluster.sbatch("bob", "-w", node, script=burn(3)) for node in NODES]
    cluster.wait_for(jobs)
    stocks = {}
    for node in NODES:
        cluster.stop_collector(node)
        segments = sorted((cluster.layout.node(node) / "spool").glob("*.jsonl"))
        if segments:
            cluster.run(["carbon-mgr", "ingest", *map(str, segments)])
        stocks[node] = Stock(last_readings(cluster, node)[1], metered(product, node))
    return stocks


def metered(product: Product, node: str) -> dict[str, int]:
    """Component -> microjoules that the product has metered on a node since ever."""
    rows = list(product.rows("select n.name as node, s.* from node_slot s join node n on n.id = s.node_id"))
    return {c: sum(row[f"{c}_uj"] for row in rows if row["node"] == node) for c in COMPONENTS.values()}


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

    for node in NODES:
        for kind, component in COMPONENTS.items():
            zones = [zone for zone in first[node].readings if zone.startswith(kind)]
            growth = sum((second[node].readings[z] - first[node].readings[z]) % RANGES[kind] for z in zones)
            assert second[node].metered[component] - first[node].metered[component] == growth > 0


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
