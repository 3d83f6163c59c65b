# SPDX-License-Identifier: MIT
"""Taking stock: what the counters of each node show, beside all that the product has metered of it so far."""

from __future__ import annotations

import json
from typing import NamedTuple

from simulator.hardware import DRAM_RANGE_UJ, PACKAGE_RANGE_UJ

from .cluster import Cluster
from .jobs import burn
from .layout import NODES
from .product import Product

RANGES = {"package": PACKAGE_RANGE_UJ, "dram": DRAM_RANGE_UJ}
COMPONENTS = {"package": "cpu", "dram": "dram"}


class Stock(NamedTuple):
    """Counters at the last reading of a node, and what the product has metered up to that reading."""

    readings: dict[str, int]
    metered: dict[str, int]

    def counted_since(self, first: Stock) -> dict[str, int]:
        """Component -> microjoules by which the counters grew, a wrap included."""
        growth = dict.fromkeys(COMPONENTS.values(), 0)
        for zone, uj in self.readings.items():
            kind = zone.partition("-")[0]
            if kind in COMPONENTS:
                growth[COMPONENTS[kind]] += (uj - first.readings[zone]) % RANGES[kind]
        return growth

    def metered_since(self, first: Stock) -> dict[str, int]:
        """Component -> microjoules that the product has metered since."""
        return {component: uj - first.metered[component] for component, uj in self.metered.items()}


def last_readings(cluster: Cluster, node: str) -> tuple[float, dict[str, int]]:
    """Wall-clock time and counters of the collector's last reading, from its state on disk."""
    _, _, body = (cluster.layout.node(node) / "state" / "state.json").read_text().partition("\n")
    snapshot = json.loads(body)["last"]
    return snapshot["wall_us"] / 1e6, snapshot["readings"]


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
        stocks[node] = Stock(last_readings(cluster, node)[1], _metered(product, node))
    return stocks


def _metered(product: Product, node: str) -> dict[str, int]:
    """Component -> microjoules that the product has metered on a node since ever."""
    rows = product.rows("select n.name as node, s.* from node_slot s join node n on n.id = s.node_id")
    return {c: sum(row[f"{c}_uj"] or 0 for row in rows if row["node"] == node) for c in COMPONENTS.values()}
