# SPDX-License-Identifier: MIT
"""What the product says, read from its own database: for waiting until it has everything, and for comparing."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from .cluster import Cluster, ClusterError

COMPONENTS = ("cpu", "dram", "gpu", "other")
JOB_NODE = """
select j.name as node, l.*, s.* from ledger l join node j on j.id = l.node_id
join node_job_slot s on s.ledger_id = l.id where l.job_id = ?
"""
# Jobs without a row of their node count as well: what nobody metered cannot have been consumed.
DIFFERENCES = """
with job as (
    select l.node_id, l.stream, s.slot, sum(s.{0}_uj) as uj
    from node_job_slot s join ledger l on l.id = s.ledger_id group by 1, 2, 3
), place as (select node_id, stream, slot from node_slot union select node_id, stream, slot from job)
select n.name as node, place.stream, place.slot,
    coalesce(s.{0}_uj, 0) - coalesce(job.uj, 0) - coalesce(s.{0}_idle_uj, 0) - coalesce(s.{0}_system_uj, 0) as uj
from place join node n on n.id = place.node_id
left join node_slot s using (node_id, stream, slot) left join job using (node_id, stream, slot)
where s.{0}_uj is not null or job.uj is not null
"""


class Product:
    """The aggregator's database of a running cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Rows of a query."""
        path = self._cluster.layout.state / "carbon-acct.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def job(self, job_id: int, node: str = "") -> list[dict[str, Any]]:
        """The rows of a job (JobIDRaw), on one node or on all."""
        return [row for row in self.rows(JOB_NODE, job_id) if node in ("", row["node"])]

    def energy_uj(self, job_id: int, component: str, node: str = "") -> int:
        """Energy of a job. Raises ClusterError where a row does not know it."""
        values = [row[f"{component}_uj"] for row in self.job(job_id, node)]
        if not values or None in values:
            raise ClusterError(f"the {component} energy of job {job_id} is not known: {values}")
        return sum(values)

    def differences(self) -> dict[tuple[str, str, int, str], int]:
        """(node, stream, slot, component) -> counters - jobs - idle - system, for every row that is metered."""
        return {
            (row["node"], row["stream"], row["slot"], name): row["uj"]
            for name in COMPONENTS
            for row in self.rows(DIFFERENCES.format(name))
        }

    def slots(self, node: str) -> set[int]:
        """The slots of which a node has told."""
        query = "select s.slot from node_slot s join node n on n.id = s.node_id where n.name = ?"
        return {row["slot"] for row in self.rows(query, node)}

    def missing(self, jobs: Iterable[int]) -> set[tuple[int, str]]:
        """(job, node) with more runs that have ended than sealed ledgers have arrived. `jobs` are JobIDRaw."""
        wanted = set(jobs)
        ended = Counter((stay.job_id, stay.node) for stay in self._cluster.stays() if stay.ended)
        query = (
            "select l.job_id, n.name as node from ledger l join node n on n.id = l.node_id where l.closed is not null"
        )
        sealed = Counter((row["job_id"], row["node"]) for row in self.rows(query))
        return {key for key, runs in ended.items() if key[0] in wanted and sealed[key] < runs}

    def wait_for(self, jobs: Iterable[int], timeout: float = 60) -> None:
        """Wait until the ledgers of jobs that have ended are here. Raises ClusterError."""
        wanted = list(jobs)
        deadline = time.monotonic() + timeout
        while left := self.missing(wanted):
            if time.monotonic() > deadline:
                raise ClusterError(f"no sealed ledger has arrived for {sorted(left)} (waited {timeout:.0f} s)")
            time.sleep(0.5)
