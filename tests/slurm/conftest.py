# SPDX-License-Identifier: MIT
"""One cluster for all tests of ring 3; every test leaves its nodes idle and undrained, or has failed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from simulator.truth import Allocation, JobTruth, Log
from slurm.aftermath import Aftermath
from slurm.cluster import Cluster, missing
from slurm.jobs import on_each_node
from slurm.layout import CHECKOUT
from slurm.processes import alive
from slurm.product import Product

CLUSTERS = CHECKOUT / "build" / "slurm"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs PyTorch, unless it is asked for (`-m frameworks`)."""
    asked = "frameworks" in config.getoption("markexpr").split()
    return True if collection_path.name == "test_frameworks.py" and not asked else None


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
    """The cluster, with an aggregator."""
    with Cluster(folder / "cluster", name="test") as cluster:
        cluster.start_aggregator()
        yield cluster
    if not request.session.testsfailed:
        shutil.rmtree(folder)


@pytest.fixture
def product(cluster: Cluster) -> Product:
    """What the product says."""
    return Product(cluster)


@pytest.fixture
def aftermath(cluster: Cluster, product: Product) -> Aftermath:
    """The check after each fault."""
    return Aftermath(cluster, product)


class Truth(NamedTuple):
    """What a job truly consumed: least and most, since its times are known to some hundredths of a second."""

    least: JobTruth
    most: JobTruth

    def agrees(self, product_uj: int, component: str, tolerance: float) -> bool:
        """Whether a figure of the product lies between them, give or take a share; if not, pytest shows both."""
        least, most = (getattr(truth, f"{component}_uj") for truth in self)
        assert least * (1 - tolerance) <= product_uj <= most * (1 + tolerance), (component, least, product_uj, most)
        return True


class TruthOf(Protocol):
    """What a job with so many CPUs truly consumed on a node, over all its runs there."""

    def __call__(self, job: int, node: str, cpus: int) -> Truth:
        """Compute it from the simulator's log and the times of prolog and epilog."""


@pytest.fixture
def truth(cluster: Cluster) -> TruthOf:
    """The simulator's own knowledge."""

    def of(job: int, node: str, cpus: int) -> Truth:
        seconds = [stay.seconds for stay in cluster.stays(job) if stay.node == node]
        log = Log(cluster.layout.truth, next(n for n in cluster.nodes if n.name == node))
        bounds = (sum(least for least, _ in seconds), sum(most for _, most in seconds))
        return Truth(*(log.job(job, Allocation(cpus, bound)) for bound in bounds))

    return of


@pytest.fixture(scope="session")
def awake(cluster: Cluster) -> None:
    """A collector has seen every node at rest for long enough to know its idle power, and keeps it on disk."""
    cluster.wait_for([on_each_node(cluster, "alice", "warm-up", seconds=8)])


@pytest.fixture(autouse=True)
def _nothing_is_harmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test may leave a node drained or down, or a job held."""
    yield
    if "cluster" in request.fixturenames:
        cluster: Cluster = request.getfixturevalue("cluster")
        states = set(cluster.run(["sinfo", "-h", "-N", "-o", "%T"]).stdout.split())
        assert states <= {"idle", "mixed", "allocated", "completing"}
        assert "JobHeld" not in cluster.run(["squeue", "-h", "-t", "PD", "-o", "%r"]).stdout
