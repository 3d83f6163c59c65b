# SPDX-License-Identifier: MIT
"""Who pays for what on shared nodes, held against what the simulator knows to be true."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from slurm.cluster import Cluster
from slurm.conftest import TruthOf
from slurm.jobs import burn, gpus
from slurm.product import Product

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

SHARED_S = 16
BUSY_S = 10
SLEEPER = "#!/bin/sh\nsleep 12\n"


class Shared(NamedTuple):
    """Two jobs that share a socket, and one that reserves the rest of the node and sleeps."""

    first: int
    second: int
    sleeper: int


@pytest.fixture(scope="module")
def shared(cluster: Cluster, awake: None) -> Shared:
    """The three jobs, at the end of their lives; both busy ones stay on CPU 0, so on socket 0."""
    jobs = Shared(
        cluster.sbatch("alice", "-w", "n1", "-n", "2", script=burn(SHARED_S, cpu=0)),
        cluster.sbatch("bob", "-w", "n1", "-n", "2", script=burn(SHARED_S, cpu=0)),
        cluster.sbatch("bob", "-w", "n1", "-n", str(cluster.nodes[0].cpus - 4), script=SLEEPER),
    )
    assert set(cluster.wait_for(jobs).values()) == {"COMPLETED"}
    Product(cluster).wait_for(jobs)
    return jobs


def test_two_jobs_on_one_socket_are_each_within_one_percent_of_the_truth(
    shared: Shared, product: Product, truth: TruthOf
) -> None:
    """A job that shares a socket with another gets what it truly consumed, to 1 %."""
    for job in (shared.first, shared.second):
        true = truth(job, "n1", 2)

        assert true.least.cpu_seconds[0] > 2
        assert true.agrees(product.energy_uj(job, "cpu"), "cpu", 0.01)


def test_the_same_cpu_time_costs_the_same(shared: Shared, product: Product) -> None:
    """Dynamic energy per CPU second is the same for both jobs, to 1 %."""
    rates = []
    for job in (shared.first, shared.second):
        rows = product.job(job)  # one for each slot
        dynamic_uj = sum(row["cpu_uj"] - row["cpu_static_uj"] for row in rows)
        rates.append(dynamic_uj / sum(row["cpu_us"] for row in rows))

    assert rates[0] == pytest.approx(rates[1], rel=0.01)


def test_a_sleeper_pays_for_what_it_reserves(
    cluster: Cluster, shared: Shared, product: Product, truth: TruthOf
) -> None:
    """A job that reserves the rest of a node and sleeps pays the idle power of what it holds."""
    true = truth(shared.sleeper, "n1", cluster.nodes[0].cpus - 4)

    assert true.agrees(product.energy_uj(shared.sleeper, "cpu"), "cpu", 0.01)
    assert true.agrees(product.energy_uj(shared.sleeper, "dram"), "dram", 0.03)


def test_a_job_on_two_nodes_is_right_on_each_although_a_counter_wraps(
    cluster: Cluster, product: Product, truth: TruthOf
) -> None:
    """Both parts of a job on two nodes are within 1 % of the truth; n2's counters wrap in the meantime."""
    job = cluster.sbatch("alice", "-A", "optics", "-N", "2", "-w", "n2,n3", script=burn(12, "srun"))
    assert set(cluster.wait_for([job]).values()) == {"COMPLETED"}
    product.wait_for([job])

    for node in ("n2", "n3"):
        true = truth(job, node, 1)
        assert sum(true.least.cpu_seconds) > 1  # less than that on a host that is overloaded
        assert true.agrees(product.energy_uj(job, "cpu", node), "cpu", 0.01)


def test_gpus_go_to_their_holder_by_minor_number(cluster: Cluster, product: Product) -> None:
    """A job pays for the devices it holds, busy or not; on n4 minor numbers are not NVML's positions."""
    busy = cluster.sbatch("bob", "-w", "n4", "--gres=gpu:2", script=gpus(BUSY_S))
    unused = cluster.sbatch("alice", "-w", "n4", "--gres=gpu:1", script="#!/bin/sh\nsleep 10\n")
    assert set(cluster.wait_for([busy, unused]).values()) == {"COMPLETED"}
    product.wait_for([busy, unused])

    device = cluster.nodes[3].gpus[0]
    rows = {job: product.job(job)[0] for job in (busy, unused)}
    uuids = {
        job: set(row["gpus"].strip('[]"').replace('"', "").replace(" ", "").split(",")) for job, row in rows.items()
    }
    minors = {gpu.uuid: gpu.minor for gpu in cluster.nodes[3].gpus}
    assert {minors[uuid] for uuid in uuids[busy]} == {0, 1}
    assert {minors[uuid] for uuid in uuids[unused]} == {2}
    least, most = cluster.stays(unused)[0].seconds
    assert least * 0.98 < product.energy_uj(unused, "gpu") / 1000 / device.idle_mw < most * 1.02
    least, most = (
        2 * (device.busy_mw * BUSY_S + device.idle_mw * (seconds - BUSY_S))
        for seconds in cluster.stays(busy)[0].seconds
    )
    assert least * 0.98 < product.energy_uj(busy, "gpu") / 1000 < most * 1.02
