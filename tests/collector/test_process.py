# SPDX-License-Identifier: MIT
"""The collector as a process: lives of jobs, from ticket to record, in every cgroup layout."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .node import FileNode
from .process import Host, eventually, stopping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .process import Aggregator

JOULE = 1_000_000
SLUID = "sEKNKTV3WPV500"


@pytest.fixture(params=["v1", "v2", "sluid"])
def layout(request: pytest.FixtureRequest) -> str:
    """How Slurm lays out the cgroups."""
    return str(request.param)


@pytest.fixture
def host(tmp_path: Path, aggregator: Aggregator, layout: str) -> Iterator[Host]:
    """A node in this layout, its collector running."""
    node = FileNode(tmp_path / "node", cgroup="v1" if layout == "v1" else "v2")
    with stopping(Host(tmp_path, node, aggregator)) as host:
        host.start()
        yield host


only_v1 = pytest.mark.parametrize("layout", ["v1"], indirect=True)


def test_a_job_lives_and_pays(host: Host, layout: str) -> None:
    """Prolog, work, epilog: a closed ledger, the job's share with its tail, and rows that add up."""
    name, env = (SLUID, {"SLURM_JOB_SLUID": SLUID}) if layout == "sluid" else ("7", {})
    host.ticket("prolog", 7, **env)
    host.node.start_job(name)
    host.node.burn(name, 0, 0.3)
    host.node.count(30 * JOULE)
    host.tick()
    host.node.burn(name, 0, 0.2)
    host.node.count(10 * JOULE)
    host.node.end_job(name)
    host.ticket("epilog", 7, **env)
    got = host.collect()

    [ledger] = got.of("ledger", 7)
    assert (ledger["user"], ledger["cpus"], ledger["node_cpus"], ledger["source"]) == ("alice", 4, 8, "prolog")
    assert ledger["run"] == (f"sluid:{SLUID}" if layout == "sluid" else "restart:0")
    assert got.is_closed(7)
    assert got.energy("cpu") == got.energy("dram") == 80 * JOULE
    assert 0 < (got.energy("cpu", 7) or 0) <= 80 * JOULE
    assert sum(row["cpu_us"] for row in got.of("job_slot", 7)) == 500_000
    assert got.is_conserved()


@only_v1
def test_tickets_twice_are_tickets_once(host: Host) -> None:
    """A prolog or an epilog that runs twice changes nothing, not even after the ledger was sealed."""
    for _ in range(2):
        host.ticket("prolog", 7)
    host.node.start_job("7")
    host.node.burn("7", 0, 0.2)
    host.node.count(JOULE)
    host.tick()  # so much CPU time in no time is nobody's while the job was never seen
    host.node.end_job("7")
    for _ in range(2):
        host.ticket("epilog", 7)
    eventually(lambda: host.aggregator.is_closed(7), "the job is sealed")
    host.ticket("epilog", 7)
    host.ticket("prolog", 7)
    got = host.collect()

    assert len(got.of("ledger", 7)) == 1
    assert sum(row["cpu_us"] for row in got.of("job_slot", 7)) == 200_000
    assert got.is_conserved()


@only_v1
def test_an_epilog_without_a_prolog_knows_nothing(host: Host) -> None:
    """It makes a ledger, so that the job is seen; its energy is null, not 0."""
    host.ticket("epilog", 9)
    host.node.count(JOULE)
    got = host.collect()

    [ledger] = got.of("ledger", 9)
    assert ledger["source"] == "epilog"
    assert ledger["closed"] == ledger["opened"]
    assert got.energy("cpu", 9) is None
    assert got.energy("cpu") == 2 * JOULE


@only_v1
def test_a_requeue_within_a_second_is_two_runs(host: Host) -> None:
    """The same JobID, another run: each has its own CPU time, and neither has the other's."""
    host.ticket("prolog", 5)
    host.node.start_job("5")
    host.node.burn("5", 0, 0.3)
    host.tick()
    with host.frozen():
        host.node.end_job("5")
        host.ticket("epilog", 5, wait=False)
        host.ticket("prolog", 5, wait=False, SLURM_JOB_RESTART_COUNT="1")
        host.node.start_job("5")
    host.tick()
    host.node.burn("5", 0, 0.1)
    host.node.count(JOULE)
    host.node.end_job("5")
    host.ticket("epilog", 5, SLURM_JOB_RESTART_COUNT="1")
    got = host.collect()

    cpu = {ledger["run"]: 0 for ledger in got.of("ledger", 5)}
    for row in got.of("job_slot", 5):
        cpu[row["run"]] += row["cpu_us"]
    assert cpu == {"restart:0": 300_000, "restart:1": 100_000}
    assert got.is_conserved()


@only_v1
def test_an_epilog_that_names_another_run_closes_the_one_that_is_open(host: Host) -> None:
    """A node has one run of a JobID at a time, whatever the count in the epilog's credential says."""
    host.ticket("prolog", 5)
    host.ticket("epilog", 5, SLURM_JOB_RESTART_COUNT="1")
    host.ticket("prolog", 5, SLURM_JOB_RESTART_COUNT="1")
    got = host.collect()

    assert {x["run"]: x["closed"] is None for x in got.of("ledger", 5)} == {"restart:0": False, "restart:1": True}


@only_v1
def test_a_run_whose_epilog_was_lost_ends_with_the_next_run(host: Host) -> None:
    """Else it would hold its CPUs, and pay for them, for ever."""
    host.ticket("prolog", 5)
    host.ticket("prolog", 5, SLURM_JOB_RESTART_COUNT="1")
    got = host.collect()

    assert {x["run"]: x["closed"] is None for x in got.of("ledger", 5)} == {"restart:0": False, "restart:1": True}


@only_v1
def test_a_job_that_should_have_ended_long_ago_and_is_not_there_has_ended(host: Host) -> None:
    """Its epilog was lost and its JobID does not come back; one that is still there goes on, whatever was planned."""
    ended = str(int(time.time()) - 1000)
    host.node.start_job("6")
    host.ticket("prolog", 5, SLURM_JOB_END_TIME=ended)
    host.ticket("prolog", 6, SLURM_JOB_END_TIME=ended)
    host.ticket("prolog", 7, SLURM_JOB_END_TIME=str(int(time.time()) + 1000))
    host.tick()
    got = host.collect()

    assert [got.is_closed(job_id) for job_id in (5, 6, 7)] == [True, False, False]
    assert "job 5 should have ended" in host.said()


def test_a_job_without_a_ticket_is_found_by_its_cgroup(host: Host, layout: str) -> None:
    """Where no prolog ran, the job is accounted from when it is seen; it ends with its cgroup."""
    name = SLUID if layout == "sluid" else "8"
    host.node.start_job(name)
    if layout == "sluid":
        title = host.node.proc / "4242/cmdline"
        title.parent.mkdir()
        title.write_bytes(b"slurmstepd: [8.batch]\0")
        procs = host.node._job_dir(name) / "step_batch/slurm/cgroup.procs"
        procs.parent.mkdir()
        procs.write_text("4242\n")
    host.node.burn(name, 1, 0.1)
    eventually(lambda: "without a prolog" in host.said(), "the job is found")
    host.node.burn(name, 1, 0.1)
    host.node.count(JOULE)
    host.tick()
    host.node.end_job(name)
    host.tick()
    got = host.collect()

    assert got.is_closed(8)
    [ledger] = got.of("ledger", 8)
    assert ledger["source"] == "cgroup"
    assert ledger["user"] is None
    assert sum(row["cpu_us"] for row in got.of("job_slot", 8)) == 100_000
    assert got.is_conserved()


@only_v1
def test_a_directory_without_processes_is_no_job(host: Host) -> None:
    """Stale job directories happen; nobody is in them."""
    host.node.start_job("8")
    (host.node._job_dir("8") / "step_batch/cgroup.procs").write_text("")
    for _ in range(4):
        host.tick()
    got = host.collect()

    assert got.of("ledger", 8) == []


@only_v1
def test_a_job_between_two_ticks_has_its_cpu_time(host: Host) -> None:
    """Prolog, work and epilog between two readings: the parent cgroup kept what it used."""
    with host.frozen():
        host.ticket("prolog", 3, wait=False)
        host.node.start_job("3")
        host.node.burn("3", 0, 0.05)
        host.node.count(JOULE)
        host.node.end_job("3")
        host.ticket("epilog", 3, wait=False)
    host.tick()
    got = host.collect()

    assert sum(row["cpu_us"] for row in got.of("job_slot", 3)) == 50_000
    assert (got.energy("cpu", 3) or 0) > 0
    assert got.is_conserved()


def test_two_jobs_that_end_in_one_tick_share_the_tail(host: Host) -> None:
    """By CPUs held x time alive since the last reading (test_split.py says how): to the microsecond, none without."""
    for job in (1, 2):
        host.ticket("prolog", job)
        host.node.start_job(str(job))
    host.tick()
    with host.frozen():
        for job in (1, 2):
            host.node.burn(str(job), job, 0.2)
            host.node.end_job(str(job))
            host.ticket("epilog", job, wait=False)
    host.tick()
    got = host.collect()

    cpu = [sum(row["cpu_us"] for row in got.of("job_slot", job)) for job in (1, 2)]
    assert sum(cpu) == 400_000
    assert min(cpu) > 0
    assert got.is_conserved()


@only_v1
def test_what_a_job_says_of_itself_breaks_nothing(host: Host) -> None:
    """Names that no Slurm would make are unknown; the rest of the ledger stays; the aggregator takes it."""
    host.ticket("prolog", 6, SLURM_JOB_USER="a\nb", SLURM_JOB_ACCOUNT="=1+1", SLURM_JOB_PARTITION="x" * 100_000)
    host.node.count(JOULE)
    got = host.collect()

    [ledger] = got.of("ledger", 6)
    assert (ledger["user"], ledger["account"], ledger["partition"]) == (None, "=1+1", None)
