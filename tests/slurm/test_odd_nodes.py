# SPDX-License-Identifier: MIT
"""Nodes as sites have them: cores and threads, a host with another name, jobs confined to CPUs, two slurmd on one host, an
epilog that fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.hardware import Node, default_nodes
from simulator.truth import Allocation, Log
from slurm.cluster import Cluster
from slurm.jobs import burn, on_each_node, running
from slurm.product import Product

pytestmark = pytest.mark.slurm

SLEEP = "#!/bin/sh\nsleep {}\n"
UNTIL = "#!/bin/bash\nwhile [ $EPOCHSECONDS -lt {end} ]; do {do}; done\n"
CONFINED = "CgroupPlugin=cgroup/v1\nConstrainCores=yes\nConstrainRAMSpace=yes\nConstrainDevices=no\n"
TWIN = "NodeName=n4b NodeAddr=127.0.1.14 NodeHostname=n4 Port=6890 CPUs=8 Sockets=2 CoresPerSocket=4 RealMemory=1024 State=UNKNOWN\n"


@pytest.fixture(scope="module")
def odd(folder: Path) -> Iterator[Cluster]:
    """A cluster whose n1 has 8 cores with two threads each, of which Slurm counts the cores, and whose n3 has two CPUs."""
    n2, n3, n4 = default_nodes()[1:]
    nodes = [Node("n1", cpus=16, threads=2), n2, replace(n3, cpus=2), n4]
    with Cluster(folder / "odd", name="odd", nodes=nodes) as cluster:
        cluster.start_aggregator()
        cluster.wait_for([on_each_node(cluster, "alice", "warm-up", seconds=8)])
        yield cluster


def said(cluster: Cluster, node: str) -> str:
    """What the collector of a node has logged."""
    log = cluster.layout.node(node) / "run" / "collector.log"
    return log.read_text() if log.exists() else ""


@pytest.mark.parametrize(("options", "part"), [(("--exclusive",), 16), (("-n", "4"), 8)])
def test_slurm_counts_cores_and_linux_threads(odd: Cluster, options: tuple[str, ...], part: int) -> None:
    """An exclusive job pays for the whole node, and one with four of Slurm's eight CPUs for half of it."""
    job = odd.sbatch("alice", "-w", "n1", *options, script=SLEEP.format(10))
    assert set(odd.wait_for([job]).values()) == {"COMPLETED"}
    product = Product(odd)
    product.wait_for([job])
    log = Log(odd.layout.truth, odd.nodes[0])
    [stay] = odd.stays(job)
    least, most = (log.job(job, Allocation(part, seconds)).cpu_uj for seconds in stay.seconds)

    assert least * 0.97 <= product.energy_uj(job, "cpu") <= most * 1.03
    rows = product.rows("select cpus, node_cpus from ledger where job_id = ?", job)
    assert {row["node_cpus"] for row in rows} == {8}


def test_a_host_with_another_name(odd: Cluster) -> None:
    """As the unit starts it, without --node, on a host that Slurm does not call by its name: the job is of the node."""
    odd.stop_collector("n3")
    start = "hostname rack7-c3 && setsid -f carbon-collector run --take-over >/dev/null 2>&1 </dev/null"
    odd.run(["unshare", "--uts", "sh", "-c", start], node="n3")
    time.sleep(2)
    job = odd.sbatch("bob", "-w", "n3", script=burn(5))
    assert set(odd.wait_for([job]).values()) == {"COMPLETED"}
    product = Product(odd)
    product.wait_for([job])

    assert {row["node"] for row in product.job(job)} == {"n3"}
    assert product.energy_uj(job, "cpu") > 0
    assert not product.rows("select * from node where name = 'rack7-c3'")
    assert not any(product.differences().values())


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two CPUs are needed: each job is confined to one")
def test_jobs_that_are_confined_to_cpus_and_memory(odd: Cluster) -> None:
    """With ConstrainCores and ConstrainRAMSpace two jobs that end in the same second on CPUs of their own are measured: one
    burns its CPU, the other sleeps, and each is within 3 % of the truth.
    """
    conf = odd.layout.node("n3") / "conf"
    conf.mkdir()
    (conf / "cgroup.conf").write_text(CONFINED)
    slurm = (odd.layout.etc / "slurm/slurm.conf").read_text()
    (conf / "slurm.conf").write_text(slurm.replace("TaskPlugin=task/none", "TaskPlugin=task/cgroup"))
    for name in ("cgroup.conf", "slurm.conf"):  # this node's alone: the others claim more CPUs than there are
        odd.run(["mount", "--bind", str(conf / name), f"/etc/slurm/{name}"], node="n3")
    odd.stop_part("slurmd-n3")
    odd.restart("slurmd-n3")
    odd.until_idle()
    end = int(time.time()) + 14
    jobs = [
        odd.sbatch("alice", "-w", "n3", "-n", "1", script=UNTIL.format(end=end, do=do)) for do in (":", "sleep 0.1")
    ]
    running(odd, jobs[1])
    time.sleep(1)
    show = "cat /sys/fs/cgroup/cpuset/slurm_n3/uid_*/job_*/cpuset.cpus"
    confined = odd.run(["sh", "-c", show], node="n3").stdout.split()
    assert set(odd.wait_for(jobs).values()) == {"COMPLETED"}
    product = Product(odd)
    product.wait_for(jobs)
    log = Log(odd.layout.truth, odd.nodes[2])

    assert sorted(confined) == ["0", "1"]
    for job in jobs:
        [stay] = odd.stays(job)
        least, most = (log.job(job, Allocation(1, seconds)) for seconds in stay.seconds)
        assert least.cpu_uj * 0.97 <= product.energy_uj(job, "cpu") <= most.cpu_uj * 1.03
        assert {row["cpu_method"] for row in product.job(job)} == {"counter"}
    burned, slept = (sum(row["cpu_us"] for row in product.job(job)) for job in jobs)
    assert slept < burned / 4
    assert not any(product.differences().values())


def test_an_epilog_that_fails_after_ours(odd: Cluster) -> None:
    """The node is drained, as Slurm has it; the job's ledger is closed all the same, and what follows is metered."""
    script = odd.layout.etc / "slurm/epilog.d/00-fail.sh"  # slurmd runs them in reverse order of their names
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    job = odd.sbatch("alice", "-w", "n2", script=burn(3))
    odd.wait_for([job])
    Product(odd).wait_for([job])
    script.unlink()
    deadline = time.monotonic() + 60
    while "drain" not in odd.run(["sinfo", "-h", "-N", "-n", "n2", "-o", "%T"]).stdout:
        assert time.monotonic() < deadline, "the epilog did not fail"
        time.sleep(0.2)
    odd.run(["scontrol", "update", "nodename=n2", "state=resume"])
    again = odd.sbatch("alice", "-w", "n2", script=burn(3))
    assert set(odd.wait_for([again]).values()) == {"COMPLETED"}
    product = Product(odd)
    product.wait_for([again])

    for one in (job, again):
        [row] = product.rows("select closed from ledger where job_id = ?", one)
        assert row["closed"] is not None
        assert product.energy_uj(one, "cpu") > 0
    assert not any(product.differences().values())


def test_an_epilog_that_fails_before_ours(odd: Cluster) -> None:
    """Slurmd ends at the first script that fails, so ours never runs: the ledger ends when another job has the place, which
    pays for nothing of the first one's.
    """
    script = odd.layout.etc / "slurm/epilog.d/zz-fail.sh"  # slurmd runs them in reverse order of their names
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    cpus = odd.nodes[1].cpus
    job = odd.sbatch("alice", "-w", "n2", "-n", str(cpus), script=burn(4))
    odd.wait_for([job])
    deadline = time.monotonic() + 60
    while "drain" not in odd.run(["sinfo", "-h", "-N", "-n", "n2", "-o", "%T"]).stdout:
        assert time.monotonic() < deadline, "the epilog did not fail"
        time.sleep(0.2)
    script.unlink()
    odd.run(["scontrol", "update", "nodename=n2", "state=resume"])
    again = odd.sbatch("alice", "-w", "n2", "-n", str(cpus), script=burn(12))
    assert set(odd.wait_for([again]).values()) == {"COMPLETED"}
    product = Product(odd)
    product.wait_for([again])
    deadline = time.monotonic() + 60
    while not all(row["closed"] for row in product.rows("select closed from ledger where job_id = ?", job)):
        assert time.monotonic() < deadline, said(odd, "n2")
        time.sleep(0.5)

    [first] = product.rows("select opened, closed from ledger where job_id = ?", job)
    [then] = product.rows("select opened, closed from ledger where job_id = ?", again)
    assert first["opened"] < first["closed"] <= then["opened"] + 1
    log = Log(odd.layout.truth, odd.nodes[1])
    [stay] = odd.stays(again)
    least, most = (log.job(again, Allocation(cpus, seconds)).cpu_uj for seconds in stay.seconds)
    assert least * 0.97 <= product.energy_uj(again, "cpu") <= most * 1.03
    assert not any(product.differences().values())


def test_two_slurmd_on_one_host(odd: Cluster) -> None:
    """The second one's job is refused in one line while one of the first is here; nothing is counted twice."""
    conf = odd.layout.etc / "slurm/slurm.conf"
    conf.write_text(conf.read_text().replace("PartitionName=", f"{TWIN}PartitionName=", 1))
    for part in ("slurmctld", "slurmd-n4"):
        odd.stop_part(part)
    odd.restart("slurmctld")
    odd.restart("slurmd-n4")
    odd.spawn("slurmd-n4b", ["slurmd", "-D", "-N", "n4b"], node="n4")
    deadline = time.monotonic() + 60
    while odd.run(["sinfo", "-h", "-N", "-n", "n4,n4b", "-o", "%T"]).stdout.split() != ["idle", "idle"]:
        assert time.monotonic() < deadline, odd.logs()
        time.sleep(0.5)
    first = odd.sbatch("alice", "-w", "n4", script=burn(14))
    time.sleep(4)
    second = odd.sbatch("bob", "-w", "n4b", script=burn(5))
    assert set(odd.wait_for([first, second]).values()) == {"COMPLETED"}
    product = Product(odd)
    deadline = time.monotonic() + 60
    while (first, "n4") in product.missing([first]):
        assert time.monotonic() < deadline
        time.sleep(0.5)

    assert product.energy_uj(first, "cpu") > 0
    assert product.job(second) == []
    assert said(odd, "n4").count("n4b is not metered") == 1
    assert not any(product.differences().values())
