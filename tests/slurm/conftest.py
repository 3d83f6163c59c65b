# SPDX-License-Identifier: MIT
"""One cluster for all tests of ring 3; every test leaves its nodes idle and undrained, or has failed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from simulator.truth import Allocation, JobTruth, Truth
from slurm.cluster import Cluster, missing
from slurm.jobs import on_each_node
from slurm.layout import CHECKOUT
from slurm.processes import alive
from slurm.product import Product

CLUSTERS = CHECKOUT / "build" / "slurm"


@pytest.fixture(scope="session")
def folder() -> Path:
    """A folder for this run's clusters; those of runs that are over are removed."""
    lack = missing()
    if lack:
        pytest.skip(f"ring 3 cannot run: {lack}")
    for old in CLUSTERS.glob("[0-9]*"):
        if not alive(int(old.name)):
            shutil.rmtree(old)
    return CLUSTERS / str(os.getpid())


@pytest.fixture(scope="session")
def cluster(folder: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster whose collectors have seen their nodes at rest."""
    with Cluster(folder / "cluster", name="test") as cluster:
        cluster.start_aggregator()
        warm_up = on_each_node(cluster, "alice", "warm-up", seconds=4)
        cluster.wait_for([warm_up])
        yield cluster
    if not request.session.testsfailed:
        shutil.rmtree(folder)


@pytest.fixture
def product(cluster: Cluster) -> Product:
    """What the product says."""
    return Product(cluster)


class TruthOf(Protocol):
    """What a job with so many CPUs truly consumed on a node, over all its runs there."""

    def __call__(self, job: int, node: str, cpus: int) -> JobTruth:
        """Compute it from the simulator's log and the times of prolog and epilog."""


@pytest.fixture
def truth(cluster: Cluster) -> TruthOf:
    """The simulator's own knowledge."""

    def of(job: int, node: str, cpus: int) -> JobTruth:
        seconds = sum(stay.seconds for stay in cluster.stays(job) if stay.node == node)
        hardware = next(n for n in cluster.nodes if n.name == node)
        return Truth(cluster.layout.truth, hardware).job(job, Allocation(cpus, seconds))

    return of


@pytest.fixture(autouse=True)
def _nothing_is_harmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test may leave a node drained or down, or a job held."""
    yield
    if "cluster" in request.fixturenames:
        cluster: Cluster = request.getfixturevalue("cluster")
        states = set(cluster.run(["sinfo", "-h", "-N", "-o", "%T"]).stdout.split())
        assert states <= {"idle", "mixed", "allocated", "completing"}
        assert "JobHeld" not in cluster.run(["squeue", "-h", "-t", "PD", "-o", "%r"]).stdout
