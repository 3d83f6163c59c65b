# SPDX-License-Identifier: MIT
"""kill -9 of the collector, whenever, as often as it likes: whoever starts it next, nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from slurm.aftermath import Aftermath
from slurm.cluster import Cluster
from slurm.conftest import TruthOf
from slurm.jobs import burn, is_running, on_each_node, running
from slurm.layout import NODES
from slurm.product import Product
from slurm.stock import take_stock

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

SEED = int(os.environ.get("KILL_SEED", "6829"))
MIXED = """#!/bin/bash
case $((SLURM_ARRAY_TASK_ID % 4)) in
0) true ;;
1) sleep 0.4 ;;
2) sleep 2 ;;
3) end=$((SECONDS + 2)); while [ $SECONDS -lt $end ]; do :; done ;;
esac
"""
# As a service manager does with Restart=always and RestartSec=100ms.
SUPERVISE = "while :; do /opt/carbon-acct/bin/carbon-collector run --node $1; sleep 0.1; done\n"


def complete(cluster: Cluster, *jobs: int) -> None:
    """All jobs end well."""
    assert set(cluster.wait_for(jobs).values()) == {"COMPLETED"}


@contextlib.contextmanager
def killing(cluster: Cluster, chance: random.Random) -> Iterator[list[str]]:
    """Meanwhile kill collectors on all nodes at random moments; yields the nodes on which one was hit."""
    hit: list[str] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(chance.expovariate(5)):
            node = chance.choice(NODES)
            hit.extend([node] * bool(cluster.kill_collector(node)))

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield hit
    finally:
        over.set()
        thread.join()


def test_kills_at_random_moments_under_load(
    cluster: Cluster, product: Product, truth: TruthOf, aftermath: Aftermath
) -> None:
    """While jobs start and end on all nodes, their collectors are killed again and again: the counters' every joule is there."""
    before = take_stock(cluster, product)
    with killing(cluster, random.Random(SEED)) as hit:
        long = {node: cluster.sbatch("alice", "-w", node, "-n", "2", script=burn(14)) for node in NODES}
        short = [cluster.sbatch("bob", "-w", node, "--array=1-12%2", script=MIXED) for node in NODES]
        complete(cluster, *short, *long.values())
    print(f"KILL_SEED={SEED}: {len(hit)} kills, {Counter(hit)}")
    last = on_each_node(cluster, "alice", "bring-back", seconds=1)
    complete(cluster, last)
    aftermath.check([*short, last, *long.values()], shared=True)
    after = take_stock(cluster, product)

    assert len(hit) >= 12
    assert set(hit) == set(NODES)
    quality = {row["job_id_raw"]: row["quality"] for row in aftermath.shown(long.values()).values()}
    for node, job in long.items():
        assert after[node].metered_since(before[node]) == after[node].counted_since(before[node])
        # Where no collector saw the end, the last use was shared by a rule, and the quality says so.
        within = 0.02 if quality[job] == "measured" else 0.05
        assert truth(job, node, 2).agrees(product.energy_uj(job, "cpu"), "cpu", within)


def test_the_next_prolog_brings_it_back(
    cluster: Cluster, product: Product, truth: TruthOf, aftermath: Aftermath
) -> None:
    """After kill -9 the next job's prolog starts a collector, and the job that was there is as if nothing had been."""
    job = cluster.sbatch("alice", "-w", "n1", "-n", "2", script=burn(12))
    running(cluster, job)
    time.sleep(3)
    cluster.stop_collector("n1", signal.SIGKILL)
    next_job = cluster.sbatch("bob", "-w", "n1", script=burn(2))
    complete(cluster, next_job)
    assert len(cluster.collectors("n1")) == 1

    complete(cluster, job)
    aftermath.check([job, next_job])
    [first], [second] = cluster.stays(job), cluster.stays(next_job)
    assert (second.times[1] or 0) < (first.times[2] or 0), "the next job came when the first one had ended"
    assert truth(job, "n1", 2).agrees(product.energy_uj(job, "cpu"), "cpu", 0.01)


def test_the_next_epilog_brings_it_back(
    cluster: Cluster, product: Product, truth: TruthOf, aftermath: Aftermath
) -> None:
    """Where nothing else starts, the job's own epilog starts a collector: the job still gets what it truly consumed."""
    job = cluster.sbatch("alice", "-w", "n3", "-n", "2", script=burn(12))
    running(cluster, job)
    time.sleep(5)
    assert len(cluster.collectors("n3")) == 1
    cluster.stop_collector("n3", signal.SIGKILL)
    time.sleep(3)
    assert cluster.collectors("n3") == []

    complete(cluster, job)
    aftermath.check([job])
    assert len(cluster.collectors("n3")) == 1
    assert truth(job, "n3", 2).agrees(product.energy_uj(job, "cpu"), "cpu", 0.01)


@contextlib.contextmanager
def service_manager(cluster: Cluster, node: str) -> Iterator[None]:
    """Meanwhile whoever kills the collector of a node finds another."""
    script = cluster.layout.folder / "supervise.sh"
    script.write_text(SUPERVISE)
    cluster.stop_collector(node)
    cluster.spawn("supervisor", ["sh", str(script), node], node=node)
    try:
        yield
    finally:
        cluster.kill("supervisor")


def test_a_service_manager_brings_it_back(
    cluster: Cluster, product: Product, truth: TruthOf, aftermath: Aftermath
) -> None:
    """With Restart=always it needs neither prolog nor epilog."""
    chance = random.Random(SEED)
    with service_manager(cluster, "n4"):
        job = cluster.sbatch("alice", "-w", "n4", "-n", "2", script=burn(12))
        running(cluster, job)
        killed: set[int] = set()
        while len(killed) < 5 and is_running(cluster, job):
            time.sleep(chance.random())
            killed.update(cluster.kill_collector("n4"))
        complete(cluster, job)
        aftermath.check([job])

    assert len(killed) >= 2  # on a busy machine it takes longer to come back
    assert truth(job, "n4", 2).agrees(product.energy_uj(job, "cpu"), "cpu", 0.01)
