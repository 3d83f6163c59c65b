# SPDX-License-Identifier: MIT
"""Slurm's record and what nodes delivered find each other: arrays, het jobs, requeues, resizes, a lost slurmdbd, a purge."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from carbon_acct.slurm.dbd import DbdLimits, parse_limits
from slurm.aftermath import Aftermath
from slurm.cluster import Cluster
from slurm.jobs import burn
from slurm.product import Product
from slurm.record_sacct import requeued, resized

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

LIMITS = "MaxQueryTimeRange=2-0\nPurgeJobAfter=12months\n"
MATCHED = """
select n.name as node, l.closed, j.state, j.submit from ledger l join node n on n.id = l.node_id
left join job j on j.id = l.matched_id where l.job_id = ? order by n.name
"""
MYSQL = ["mariadb", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "slurm_acct_db", "-e"]


def until(condition: Callable[[], bool], timeout: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def unmatched(cluster: Cluster) -> dict[int, dict[str, Any]]:
    """JobIDRaw -> what carbon-mgr says of its ledger."""
    found = json.loads(cluster.run(["carbon-mgr", "unmatched", "--json"]).stdout)["unmatched"]
    return {row["job_id"]: row for row in found}


def shown(cluster: Cluster, job: int) -> list[dict[str, Any]]:
    """The runs of a job as carbon-acct shows them, oldest first."""
    rows = json.loads(cluster.run(["carbon-acct", "-a", "-D", "--json", "-j", str(job)]).stdout)["jobs"]
    return sorted(rows, key=lambda row: int(row["submit"]))


def test_arrays_and_het_jobs(cluster: Cluster, aftermath: Aftermath) -> None:
    """Every task and component has its own ledgers on its own nodes, and all of its energy."""
    array = cluster.sbatch("alice", "--array=1-3", "-w", "n3", script=burn(1))
    het = cluster.sbatch("bob", "-w", "n3", "-n", "1", ":", "-w", "n4", "-n", "2", script=burn(1))
    cluster.wait_for([array, het])

    aftermath.check([array, het], shared=True)  # the tasks end together, and may do so between two readings


def test_a_requeued_job_has_two_runs(cluster: Cluster, product: Product) -> None:
    """What was measured before the requeue is the first run's; one that was cancelled before it began has nothing."""
    job = requeued(cluster)
    until(lambda: any(row["closed"] for row in product.rows(MATCHED, job)))
    cluster.run(["carbon-mgr", "sync"])
    first, *others = shown(cluster, job)

    assert [row["state"] for row in product.rows(MATCHED, job)] == ["REQUEUED"]
    assert first["energy_uj"] == sum(product.energy_uj(job, component) for component in ("cpu", "dram"))
    assert {row["energy_uj"] for row in others} <= {None}


def test_a_resized_job_is_one_run(cluster: Cluster, product: Product) -> None:
    """Slurm has two records of it, and so has carbon-acct; what both nodes measured is the newest's, whole."""
    job = resized(cluster)
    until(lambda: [row["closed"] is not None for row in product.rows(MATCHED, job)] == [True, True])
    cluster.run(["carbon-mgr", "sync"])
    before, after = shown(cluster, job)
    delivered = sum(product.energy_uj(job, component) for component in ("cpu", "dram"))

    assert [row["state"] for row in product.rows(MATCHED, job)] == ["COMPLETED", "COMPLETED"]
    assert (before["state"], before["energy_uj"], before["coverage"]) == ("RESIZING", None, None)
    assert (after["state"], after["energy_uj"], after["quality"]) == ("COMPLETED", delivered, "measured")


@pytest.fixture
def limited(cluster: Cluster) -> Iterator[None]:
    """Slurmdbd is down, and has limits when it comes back; it is up again in the end."""
    path = cluster.layout.etc / "slurm" / "slurmdbd.conf"
    text = path.read_text()
    path.write_text(text + LIMITS)
    cluster.stop_part("slurmdbd")
    yield
    path.write_text(text)
    cluster.stop_part("slurmdbd")
    cluster.restart("slurmdbd")


@pytest.mark.usefixtures("limited")
def test_a_job_of_which_slurmdbd_learns_late(cluster: Cluster, product: Product, aftermath: Aftermath) -> None:
    """It is visible as waiting while slurmdbd is away, and has its energy when slurmdbd knows it after all."""
    job = cluster.sbatch("alice", "-w", "n2", script=burn(1))
    cluster.wait_for_queue([job])
    until(lambda: any(row["closed"] for row in product.rows(MATCHED, job)))
    waiting = unmatched(cluster)[job]
    cluster.restart("slurmdbd")
    cluster.wait_for([job])

    assert (waiting["node"], waiting["user"], waiting["why"]) == ("n2", "alice", "waiting")
    aftermath.check([job])
    assert job not in unmatched(cluster)
    # It refuses long windows (to users), and not what is asked by JobID: so are late jobs asked for, whenever they were.
    assert "Too wide" in _sacct(cluster, "-S", "now-5days")
    assert _sacct(cluster, "-S", "now-1days", "-j", str(job)) == _sacct(cluster, "-S", "now-5days", "-j", str(job))
    limits = parse_limits(cluster.run(["sacctmgr", "show", "configuration"]).stdout)
    assert limits == DbdLimits(query_s=2 * 86400, keep_jobs_s=12 * 31 * 86400)


def _sacct(cluster: Cluster, *options: str) -> str:
    done = cluster.run_as("alice", ["sacct", "-X", "-n", "-P", "-o", "JobID,State", *options], check=False)
    return done.stdout + done.stderr


def test_a_job_that_slurmdbd_has_forgotten(cluster: Cluster, aftermath: Aftermath) -> None:
    """A job that was purged from slurmdbd is still here, with all of its energy."""
    job = cluster.sbatch("bob", "-w", "n2", script=burn(1))
    cluster.wait_for([job])
    aftermath.check([job])
    before = shown(cluster, job)
    cluster.run([*MYSQL, f"delete from {cluster.name}_job_table where id_job = {job}"])

    assert cluster.states([job]) == {}
    cluster.run(["carbon-mgr", "sync"])
    assert shown(cluster, job) == before
