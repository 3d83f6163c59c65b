# SPDX-License-Identifier: MIT
"""What can fail, fails here: no job is harmed, no node drained, and nothing is counted twice or lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.process import eventually
from slurm.aftermath import Aftermath
from slurm.cluster import Cluster
from slurm.conftest import TruthOf
from slurm.jobs import burn, running
from slurm.product import Product

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

SPOOL, STATE, RUN = "/var/spool/carbon-acct", "/var/lib/carbon-acct", "/run/carbon-acct"

# /mnt exists everywhere, and is this node's own.
FILL = """
mount -t tmpfs -o size=256k,mode=700 tmpfs /mnt && cp -a "$1/." /mnt && mount --move /mnt "$1"
dd if=/dev/zero of="$1/full" bs=1k 2>/dev/null
[ "$(df --output=avail "$1" | tail -1)" -eq 0 ]
"""
BRING_BACK = """
mount -t tmpfs tmpfs /mnt && cp -a "$1/." /mnt && umount "$1" && rm -rf "$1"/* && cp -a /mnt/. "$1" && umount /mnt
"""


def complete(cluster: Cluster, *jobs: int) -> None:
    """All jobs end well."""
    assert set(cluster.wait_for(jobs).values()) == {"COMPLETED"}


@contextlib.contextmanager
def full_disk(cluster: Cluster, node: str, *folders: str) -> Iterator[Callable[[], None]]:
    """Put a full disk with the same content at folders of a node; yields what makes room on it.

    In the end what lies there is brought back to the node's own disk.
    """
    own = cluster.node(node)

    def make_room() -> None:
        own.run(["rm", "-f", *(f"{folder}/full" for folder in folders)])

    for folder in folders:
        own.run(["sh", "-c", FILL, "sh", folder])
    try:
        yield make_room
    finally:
        make_room()
        cluster.stop_collector(node)
        for folder in folders:
            own.run(["sh", "-c", BRING_BACK, "sh", folder])


def test_an_aggregator_that_is_away_gets_everything_later(
    cluster: Cluster, product: Product, truth: TruthOf, aftermath: Aftermath
) -> None:
    """While the aggregator is down segments wait on the node; when it is back they come, once."""
    cluster.stop_part("aggregator")
    job = cluster.sbatch("bob", "-w", "n2", "-n", "2", script=burn(10))
    complete(cluster, job)
    spool = cluster.layout.node("n2") / "spool"
    eventually(lambda: list(spool.glob("*.jsonl")), "a segment that waits")
    cluster.start_aggregator()

    aftermath.check([job], timeout=120)
    assert truth(job, "n2", 2).agrees(product.energy_uj(job, "cpu"), "cpu", 0.01)


def test_jobs_end_well_while_slurmdbd_is_away(cluster: Cluster, aftermath: Aftermath) -> None:
    """Records arrive before slurmdbd knows the job; they find each other later."""
    cluster.stop_part("slurmdbd")
    job = cluster.sbatch("alice", "-w", "n1", script=burn(2))
    time.sleep(6)
    cluster.restart("slurmdbd")

    complete(cluster, job)
    aftermath.check([job])


def test_slurmd_restarted_in_the_middle_of_a_job(
    cluster: Cluster, product: Product, truth: TruthOf, aftermath: Aftermath
) -> None:
    """A job that outlives its slurmd is accounted as any other."""
    job = cluster.sbatch("alice", "-w", "n4", "-n", "2", script=burn(12))
    time.sleep(4)
    cluster.stop_part("slurmd-n4")
    cluster.restart("slurmd-n4")

    complete(cluster, job)
    aftermath.check([job])
    assert truth(job, "n4", 2).agrees(product.energy_uj(job, "cpu"), "cpu", 0.01)


@pytest.mark.parametrize("runs", [True, False], ids=["collector runs", "collector starts"])
def test_a_full_disk_harms_no_job_and_loses_none(cluster: Cluster, aftermath: Aftermath, runs: bool) -> None:
    """With spool and state on a full disk jobs run as ever, and their records come when there is room."""
    if not runs:
        cluster.stop_collector("n2")
    with full_disk(cluster, "n2", SPOOL, STATE) as make_room:
        jobs = [cluster.sbatch("bob", "-w", "n2", script=burn(3)) for _ in range(2)]
        complete(cluster, *jobs)
        make_room()
        aftermath.check(jobs)


def test_a_full_run_directory_harms_no_job(cluster: Cluster, aftermath: Aftermath) -> None:
    """No ticket can be written: jobs run as ever, and are found by their cgroups where a collector runs."""
    with full_disk(cluster, "n1", RUN):
        unseen = cluster.sbatch("bob", "-w", "n1", script=burn(3))
        complete(cluster, unseen)
    after = cluster.sbatch("bob", "-w", "n1", script=burn(3))
    complete(cluster, after)

    aftermath.check([unseen, after], cut=[unseen])


def test_a_run_directory_wiped_in_the_middle_of_a_job(
    cluster: Cluster, product: Product, truth: TruthOf, aftermath: Aftermath
) -> None:
    """Whatever tidies /run: the collector goes on and is found again, the job's epilog closes it, nothing is lost."""
    job = cluster.sbatch("alice", "-w", "n2", "-n", "2", script=burn(14))
    running(cluster, job)
    time.sleep(2)
    before = cluster.collectors("n2")
    cluster.node("n2").run(["sh", "-c", f"rm -rf {RUN}/*"])
    meanwhile = cluster.sbatch("bob", "-w", "n2", script=burn(2))
    complete(cluster, meanwhile, job)

    aftermath.check([meanwhile, job])
    assert cluster.collectors("n2") == before
    assert truth(job, "n2", 2).agrees(product.energy_uj(job, "cpu"), "cpu", 0.01)


def test_a_missing_interpreter_harms_no_job(cluster: Cluster, aftermath: Aftermath) -> None:
    """Without Python nobody collects; the tickets wait, and the next collector takes them in."""
    program = cluster.layout.node("n2") / "bin" / "carbon-collector"
    content = program.read_bytes()
    cluster.stop_collector("n2")
    program.write_bytes(b"#!/no/such/python\n")
    try:
        unmetered = cluster.sbatch("bob", "-w", "n2", script=burn(2))
        complete(cluster, unmetered)
    finally:
        program.write_bytes(content)
    after = cluster.sbatch("bob", "-w", "n2", script=burn(2))
    complete(cluster, after)

    aftermath.check([unmetered, after])


def without(script: Path) -> Path:
    """Take a script out of its folder; returns where it is now."""
    away = script.with_name("away")
    script.rename(away)
    return away


def test_an_epilog_without_a_prolog_is_tolerated(cluster: Cluster, product: Product, aftermath: Aftermath) -> None:
    """A job whose prolog did not run is found by its cgroup, and closed by its epilog."""
    script = cluster.layout.etc / "slurm" / "prolog.d" / "carbon-acct.sh"
    away = without(script)
    try:
        job = cluster.sbatch("bob", "-w", "n1", script=burn(4))
        complete(cluster, job)
    finally:
        away.rename(script)

    product.wait_for([job])
    assert {row["source"] for row in product.job(job)} <= {"epilog", "cgroup"}
    aftermath.check([job], cut=[job])


def test_a_prolog_without_an_epilog_harms_no_other_job(cluster: Cluster, aftermath: Aftermath) -> None:
    """Until its epilog comes after all a job that has left pays on; the others' energy is theirs, and all is there once."""
    script = cluster.layout.etc / "slurm" / "epilog.d" / "carbon-acct.sh"
    complete(cluster, cluster.sbatch("bob", "-w", "n3", script=burn(1)))  # the collector is there, whatever came before
    away = without(script)
    try:
        job = cluster.sbatch("bob", "-w", "n3", script=burn(3))
        complete(cluster, job)
    finally:
        away.rename(script)
    after = cluster.sbatch("bob", "-w", "n3", script=burn(3))
    complete(cluster, after)
    aftermath.check([after])

    hook = f"/etc/slurm/epilog.d/{script.name}"
    cluster.node("n3").run(["env", f"SLURM_JOB_ID={job}", "SLURM_SCRIPT_CONTEXT=epilog_slurmd", hook])
    aftermath.check([job, after])
