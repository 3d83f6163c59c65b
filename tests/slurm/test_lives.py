# SPDX-License-Identifier: MIT
"""Whole lives of jobs, of every kind that Slurm knows: each ends as it should, with its energy."""

from __future__ import annotations

import time

import pytest

from slurm.cluster import Cluster
from slurm.conftest import TruthOf
from slurm.jobs import burn, running
from slurm.product import Product

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

SLEEP = "#!/bin/sh\nexec sleep 600\n"


@pytest.fixture(scope="module", autouse=True)
def overdue(cluster: Cluster, awake: None) -> int:
    """A job that exceeds its time limit while the other tests run."""
    job = cluster.sbatch("carol", "-w", "n3", "--time=1", script=SLEEP)
    running(cluster, job)
    # A limit has whole minutes, but an end may be set to the second.
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 20))
    cluster.run(["scontrol", "update", f"JobId={job}", f"EndTime={soon}"])
    return job


@pytest.fixture(scope="module", autouse=True)
def requeued(cluster: Cluster, awake: None) -> int:
    """A job that is requeued after some seconds. Slurm lets it run again once its credential is over (cred_expire):
    until then slurmd remembers it, and would run no prolog.
    """
    job = cluster.sbatch("alice", "-w", "n1", "-n", "2", "--requeue", script=burn(8))
    running(cluster, job)
    time.sleep(4)
    cluster.run(["scontrol", "requeue", str(job)])
    return job


def test_array_tasks_are_jobs_of_their_own(cluster: Cluster, product: Product) -> None:
    """Each task of an array has its own ledger, and all of them are told apart."""
    job = cluster.sbatch("alice", "--array=1-3", "-w", "n1", script=burn(3))

    states = cluster.wait_for([job])
    raw = cluster.raw_ids([job])
    product.wait_for(raw)

    assert states == {f"{job}_{task}": "COMPLETED" for task in (1, 2, 3)}
    assert len(set(raw)) == 3
    assert all(product.energy_uj(task, "cpu") > 0 for task in raw)


def test_components_of_a_heterogeneous_job_have_their_own_energy(cluster: Cluster, product: Product) -> None:
    """Both components of a heterogeneous job are accounted, each on its own node."""
    job = cluster.sbatch("alice", "-w", "n1", "-n", "1", ":", "-w", "n2", "-n", "2", script=burn(3))

    states = cluster.wait_for([job])
    raw = cluster.raw_ids([job])
    product.wait_for(raw)

    assert states == {f"{job}+0": "COMPLETED", f"{job}+1": "COMPLETED"}
    assert [{row["node"] for row in product.job(component)} for component in raw] == [{"n1"}, {"n2"}]
    assert {row["het_job_id"] for component in raw for row in product.job(component)} == {job}


def test_a_cancelled_job_pays_up_to_its_end(cluster: Cluster, product: Product, truth: TruthOf) -> None:
    """A cancelled job pays what it consumed until then."""
    job = cluster.sbatch("bob", "-w", "n2", "-n", "4", script=SLEEP)
    running(cluster, job)
    time.sleep(6)
    cluster.run_as("bob", ["scancel", str(job)])

    assert cluster.wait_for([job]) == {str(job): "CANCELLED"}
    product.wait_for([job])
    assert truth(job, "n2", 4).agrees(product.energy_uj(job, "cpu"), "cpu", 0.02)


def test_a_suspended_job_still_pays_for_what_it_holds(cluster: Cluster, product: Product, truth: TruthOf) -> None:
    """Suspended time costs static power: the job holds its CPUs all the time."""
    job = cluster.sbatch("alice", "-w", "n4", "-n", "2", script=burn(12))
    running(cluster, job)
    time.sleep(3)
    cluster.run(["scontrol", "suspend", str(job)])
    time.sleep(4)
    cluster.run(["scontrol", "resume", str(job)])

    assert cluster.wait_for([job]) == {str(job): "COMPLETED"}
    product.wait_for([job])
    assert truth(job, "n4", 2).agrees(product.energy_uj(job, "cpu"), "cpu", 0.01)


def test_an_allocation_without_a_step_is_accounted(cluster: Cluster, product: Product, truth: TruthOf) -> None:
    """`salloc` without a step makes no cgroup at all; what is held is paid for."""
    done = cluster.run_as("alice", ["salloc", "-w", "n2", "-n", "4", "sleep", "5"])
    job = int(done.stderr.split("Granted job allocation ")[1].split()[0])

    cluster.wait_for([job])
    product.wait_for([job])
    assert truth(job, "n2", 4).agrees(product.energy_uj(job, "cpu"), "cpu", 0.02)


def test_sixty_short_jobs_all_end_and_all_are_accounted(cluster: Cluster, product: Product) -> None:
    """Jobs shorter than a tick are neither harmed nor lost."""
    job = cluster.sbatch("bob", "--array=1-60", script="#!/bin/sh\ntrue\n")

    states = cluster.wait_for([job])
    raw = cluster.raw_ids([job])
    product.wait_for(raw)

    assert list(states.values()) == ["COMPLETED"] * 60
    assert all(product.energy_uj(task, "cpu") >= 0 for task in raw)
    assert set(product.differences().values()) == {0}


def test_a_job_over_its_time_limit_pays_up_to_its_end(
    cluster: Cluster, product: Product, truth: TruthOf, overdue: int
) -> None:
    """A job that Slurm ends for its time limit pays for its whole time."""
    assert cluster.wait_for([overdue], timeout=180) == {str(overdue): "TIMEOUT"}
    product.wait_for([overdue])
    assert truth(overdue, "n3", 1).agrees(product.energy_uj(overdue, "cpu"), "cpu", 0.02)


def test_users_see_their_own_jobs_and_root_sees_all(cluster: Cluster) -> None:
    """`carbon-acct` without options shows the caller's jobs, with `-a` everybody's."""
    cluster.run(["carbon-mgr", "sync"])
    users = {
        caller: set(cluster.run_as(caller, ["carbon-acct", *options, "-n", "-P", "-o", "User"]).stdout.split())
        for caller, options in (("alice", []), ("bob", []), ("root", ["-a"]))
    }

    assert users["alice"] == {"alice"}
    assert users["bob"] == {"bob"}
    assert users["root"] >= {"alice", "bob", "carol"}


def test_both_runs_of_a_requeued_job_are_kept_apart(
    cluster: Cluster, product: Product, truth: TruthOf, requeued: int
) -> None:
    """A requeue is a second run of the same JobID: two ledgers, and together the truth."""
    assert cluster.wait_for([requeued], timeout=240) == {str(requeued): "COMPLETED"}
    product.wait_for([requeued])

    assert {row["run"] for row in product.job(requeued)} == {"restart:0", "restart:1"}
    assert [min(stay.seconds) > 2 for stay in cluster.stays(requeued)] == [True, True]
    assert truth(requeued, "n1", 2).agrees(product.energy_uj(requeued, "cpu"), "cpu", 0.02)
