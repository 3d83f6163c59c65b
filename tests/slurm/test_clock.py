# SPDX-License-Identifier: MIT
"""The clock of the whole site is stepped by an hour, both ways, under running jobs: Slurm's, the nodes', the aggregator's.

It is a cluster of its own, in which every program lives by clock.c.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbon_collector.units import SLOT_S
from slurm.aftermath import Aftermath
from slurm.cluster import Cluster
from slurm.jobs import on_each_node, running
from slurm.layout import NODES
from slurm.product import Product
from slurm.stock import last_readings, take_stock

pytestmark = pytest.mark.slurm

HOUR = 3600
DAY_SLOTS = 96
# Neither bash's SECONDS nor `date` would do: they follow the clock.
WORK = "#!/bin/sh\ntimeout {seconds} sh -c 'while :; do :; done'\nexit 0\n"


@pytest.fixture(scope="module")
def stepped(folder: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with a clock of its own."""
    with Cluster(folder / "stepped", name="stepped", own_clock=True) as cluster:
        cluster.start_aggregator()
        yield cluster
    if not request.session.testsfailed:
        shutil.rmtree(folder / "stepped")


def jobs_over_a_step(cluster: Cluster, seconds: float) -> list[int]:
    """A job on each node while the clock is stepped, and one after it."""
    over = [cluster.sbatch("alice", "-w", node, "-n", "2", script=WORK.format(seconds=5)) for node in NODES]
    for job in over:
        running(cluster, job)
    cluster.clock.step(seconds)
    if seconds < 0:
        # The controller would start no job in the hour that it has seen already.
        cluster.stop_part("slurmctld")
        cluster.restart("slurmctld")
    after = cluster.sbatch("bob", "-w", "n2", script=WORK.format(seconds=1))
    return [*over, after]


def test_the_clock_is_stepped_by_an_hour_both_ways(stepped: Cluster) -> None:
    """An hour forward, back, and forward again: every job there once and wholly covered, every joule of the counters too."""
    product = Product(stepped)
    stepped.wait_for([on_each_node(stepped, "alice", "warm-up", seconds=4)])
    before = take_stock(stepped, product)
    jobs = []
    for seconds in (HOUR, -HOUR, HOUR):
        jobs += jobs_over_a_step(stepped, seconds)
        stepped.wait_for_queue(jobs)
    states = stepped.wait_for(jobs)
    Aftermath(stepped, product).check(jobs, streams=3, timeout=120)
    after = take_stock(stepped, product)

    assert set(states.values()) == {"COMPLETED"}
    for node in NODES:
        assert after[node].metered_since(before[node]) == after[node].counted_since(before[node])
        assert not list((stepped.layout.node(node) / "spool" / "refused").iterdir())


def let_a_day_pass(cluster: Cluster) -> None:
    """The clock goes on by a quarter of an hour, a day long, and each collector takes a reading in each of them.

    slurmctld is held meanwhile: its credentials expire within minutes, and it would take its nodes for dead.
    """
    collectors = [pid for node in NODES for pid in cluster.collectors(node)]
    cluster.kill("slurmctld", signal.SIGSTOP)
    for _ in range(DAY_SLOTS):
        cluster.clock.step(SLOT_S)
        now_s = cluster.clock.time()
        for pid in collectors:
            os.kill(pid, signal.SIGURG)  # as any prolog would
        for node in NODES:
            until_read(cluster, node, now_s)
    cluster.kill("slurmctld", signal.SIGCONT)


def until_read(cluster: Cluster, node: str, since_s: float) -> None:
    """Wait until a node was read after a time of the cluster's clock."""
    deadline = time.monotonic() + 60
    while last_readings(cluster, node)[0] < since_s:
        assert time.monotonic() < deadline, f"{node} was not read"
        time.sleep(0.02)


def test_the_aggregator_is_unreachable_for_a_day(stepped: Cluster) -> None:
    """The slots of a day pass with a job on each node, sealed and kept there one by one; all of it comes later, once."""
    product = Product(stepped)
    before = take_stock(stepped, product)
    stepped.run(["scontrol", "update", "PartitionName=batch", "MaxTime=UNLIMITED"])
    stepped.stop_part("aggregator")
    jobs = [stepped.sbatch("alice", "-w", node, script=WORK.format(seconds=30)) for node in NODES]
    for job in jobs:
        running(stepped, job)
    let_a_day_pass(stepped)
    jobs.append(stepped.sbatch("bob", "--array=1-8", script=WORK.format(seconds=1)))
    stepped.wait_for_queue(jobs)
    waiting = {node: list((stepped.layout.node(node) / "spool").glob("*.jsonl")) for node in NODES}
    for node in NODES:
        stepped.stop_collector(node, signal.SIGKILL)  # it tries again within a minute and a half; the next one at once
    stepped.start_aggregator()
    jobs.append(on_each_node(stepped, "alice", "after", seconds=1))
    states = stepped.wait_for(jobs)
    Aftermath(stepped, product).check(jobs)
    after = take_stock(stepped, product)

    assert set(states.values()) == {"COMPLETED"}
    assert min(map(len, waiting.values())) >= DAY_SLOTS
    for node in NODES:
        assert after[node].metered_since(before[node]) == after[node].counted_since(before[node])
        assert len(product.slots(node)) >= DAY_SLOTS
        assert not list((stepped.layout.node(node) / "spool" / "refused").iterdir())
