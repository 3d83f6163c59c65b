# SPDX-License-Identifier: MIT
"""The soak: SOAK_JOBS jobs, 100 in the default run, while everything of the accounting is killed again and again.

`make soak` is the full one, of 2,000 jobs; it prints the figures. SOAK_SEED gives other moments.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.aftermath import Aftermath
from slurm.cluster import Cluster
from slurm.jobs import on_each_node
from slurm.layout import AGGREGATOR_USER
from slurm.soak import AGGREGATORS, Books, Killing, bring_up, submit

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(3000)]

JOBS = int(os.environ.get("SOAK_JOBS", "100"))
SEED = int(os.environ.get("SOAK_SEED", "6829"))
TABLE = """
soak, seed {seed}
  jobs          {jobs} in {arrays} arrays of two users, {states}; {ledgers} job-node ledgers
  kill -9       {kills[collectors]} collectors, {kills[aggregators]} aggregators, {kills[database]} databases
  duration      {ran:.0f} s, accounted and checked {settled:.0f} s later
  difference    {difference} uJ in {rows} components of slots, of {joules:.0f} J metered
  most memory   {peaks[collectors]:.1f} MiB a collector, {peaks[aggregators]:.0f} MiB an aggregator, \
{peaks[database]:.0f} MiB the database
  checksum      {checksum}, the same after a rebuild
"""
METERED = "select sum(coalesce(cpu_uj, 0) + coalesce(dram_uj, 0) + coalesce(gpu_uj, 0)) / 1e6 as j from node_slot"
LEDGERS = "select count(*) as n from ledger"


@pytest.fixture(scope="module")
def cluster(folder: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster whose accounting has two aggregators and a MariaDB server of its own, and every node a first reading."""
    with Cluster(folder / "soak", name="soak") as cluster:
        bring_up(cluster)
        cluster.wait_for([on_each_node(cluster, "alice", "warm-up", seconds=3)])
        yield cluster
    if not request.session.testsfailed:
        shutil.rmtree(folder / "soak")


@pytest.fixture
def product(cluster: Cluster) -> Iterator[Books]:
    """What the product says."""
    books = Books(cluster)
    yield books
    books.close()


def test_a_soak(cluster: Cluster, product: Books, aftermath: Aftermath) -> None:
    """While all that accounts dies at random every job ends well and is there once, the difference is 0, and what
    was summed as it came is what a rebuild makes of it.
    """
    started = time.monotonic()
    with Killing(cluster, SEED) as killing:
        arrays = submit(cluster, JOBS)
        states = cluster.wait_for(arrays, timeout=1800)
    killing.everything()
    ended = time.monotonic()
    last = on_each_node(cluster, "alice", "bring-back", seconds=1)
    cluster.wait_for([last])
    aftermath.check([*arrays, last], timeout=240, shared=True)
    settled = time.monotonic()

    for part in AGGREGATORS:
        cluster.stop_part(part)
    found = product.checksum()
    printed = cluster.run_as(AGGREGATOR_USER, ["carbon-mgr", "checksum"]).stdout.strip()
    product.rebuild()
    differences = product.differences().values()
    print(
        TABLE.format(
            seed=SEED,
            jobs=len(states),
            arrays=len(arrays),
            states=" ".join(sorted(set(states.values()))),
            ledgers=product.rows(LEDGERS)[0]["n"],
            kills=killing.kills,
            ran=ended - started,
            settled=settled - ended,
            difference=max(map(abs, differences)),
            rows=len(differences),
            joules=product.rows(METERED)[0]["j"],
            peaks=killing.peaks,
            checksum=found[:16],
        )
    )
    assert list(states.values()) == ["COMPLETED"] * JOBS
    assert set(differences) == {0}
    assert killing.kills.keys() == {"collectors", "aggregators", "database"}
    assert min(killing.kills.values()) >= 2
    assert printed == found == product.checksum()
