# SPDX-License-Identifier: MIT
"""A ledger ends when its job has ended, whether or not an epilog says so, and then for good."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.attribution.ghosts import ghosts
from carbon_collector.attribution.ledger import PROLOG, Ledger
from carbon_collector.usage import Usage

from .node import FileNode
from .process import Aggregator, Host, eventually, stopping
from .world import make_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOULE = 1_000_000
YEAR_S = 365 * 86_400


@pytest.fixture
def host(tmp_path: Path, aggregator: Aggregator) -> Iterator[Host]:
    """A node with cgroup v2 on which everything is static."""
    with stopping(Host(tmp_path, FileNode(tmp_path / "node", cgroup="v2"), aggregator, idle_watts="9000")) as host:
        host.start()
        yield host


def lose_epilog(host: Host, left: str, **env: str) -> None:
    """Job 1 has been here and has ended; its epilog never ran, and of its cgroup `left` is left."""
    host.node.start_job("1")
    host.ticket("prolog", 1, SLURM_JOB_CPUS_PER_NODE="8", **env)
    host.node.burn("1", 0, 0.1)
    host.tick()
    if left == "nothing":
        host.node.end_job("1")
    elif left == "an empty directory":
        shutil.rmtree(host.node._job_dir("1") / "step_batch")
    host.tick()


@pytest.mark.parametrize("left", ["nothing", "an empty directory"])
@pytest.mark.parametrize("planned", ["22.05", "unlimited"])
def test_a_ghost_does_not_pay_for_what_another_job_has(host: Host, left: str, planned: str) -> None:
    """Its epilog never ran (burrmill/burrmill issue 15, ArjunaCluster/ArjunaUsers issue 7), its planned end is not known
    or far; Slurm may have left the empty cgroup there (rackslab/FireHPC issue 6). The job that has its CPUs pays.
    """
    now = int(time.time())
    env = {"SLURM_JOB_START_TIME": str(now), "SLURM_JOB_END_TIME": str(now + YEAR_S)} if planned == "unlimited" else {}
    lose_epilog(host, left, **env)
    host.node.start_job("2")
    host.ticket("prolog", 2, SLURM_JOB_CPUS_PER_NODE="8")
    for _ in range(4):
        host.node.count(10 * JOULE)
        host.tick()
    got = host.collect()

    assert got.is_closed(1)
    assert got.energy("cpu", 2) == 80 * JOULE
    assert not got.energy("cpu", 1)
    assert host.said().count("job 1 had no epilog, and job 2 has its place") == 1


def test_a_job_that_only_sits_there_is_no_ghost(host: Host) -> None:
    """Salloc without a step has no cgroup; a small job beside it takes nothing of its."""
    host.ticket("prolog", 1, SLURM_JOB_CPUS_PER_NODE="4")
    host.node.start_job("2")
    host.ticket("prolog", 2, SLURM_JOB_CPUS_PER_NODE="4")
    host.node.count(10 * JOULE)
    host.tick()
    got = host.collect()

    assert not got.is_closed(1)
    assert got.energy("cpu", 1) == got.energy("cpu", 2) == 10 * JOULE


@pytest.mark.parametrize("is_again", [False, True])
def test_what_an_ended_job_leaves_behind_is_the_systems(host: Host, is_again: bool) -> None:
    """A process that cannot be killed stays in the cgroup (ceems-dev/ceems issue 380): no second run of an unknown user.

    A cgroup of the same name that was made anew is another run's, for which no prolog could write a ticket.
    """
    host.node.start_job("7")
    host.ticket("prolog", 7)
    host.node.burn("7", 0, 0.5)
    host.tick()
    host.ticket("epilog", 7)
    eventually(lambda: "processes of job 7, which has ended, are left" in host.said(), "what is left is seen")
    if is_again:
        host.node.end_job("7")
        host.tick()
        host.node.start_job("7")
    for _ in range(4):
        host.node.burn("7", 0, 0.5)
        host.tick()
    got = host.collect()

    runs = {ledger["run"] for ledger in got.of("ledger", 7)}
    assert "restart:0" in runs
    assert got.is_closed(7)
    assert all(row["cpu_us"] == 500_000 for row in got.of("job_slot", 7) if row["run"] == "restart:0")
    if not is_again:
        assert runs == {"restart:0"}


LEDGERS = st.lists(
    st.tuples(st.integers(1, 8), st.booleans(), st.booleans(), st.sampled_from(((), ("GPU-a",), ("GPU-b",)))),
    min_size=1,
    max_size=8,
)


@given(LEDGERS)
def test_ghosts_are_those_whose_place_is_taken(jobs: list[tuple[int, bool, bool, tuple[str, ...]]]) -> None:
    """No job with a process, and none that was never seen, is a ghost; without ghosts no GPU is held by a job that is
    gone and one that came later; where nothing is held twice, nobody is a ghost.
    """
    ledgers, alive = [], set()
    for at, (cpus, was_seen, is_there, gpus) in enumerate(jobs, 1):
        ledger = Ledger(make_job(at, cpus=cpus, gpus=gpus), PROLOG, at, at)
        if was_seen or is_there:
            ledger.seen(Usage(1, {}, 0))
        if is_there:
            alive.add(str(at))
        ledgers.append(ledger)
    found = {ghost.ledger.job.job_id for ghost in ghosts(ledgers, alive, 8)}
    rest = [ledger for ledger in ledgers if ledger.job.job_id not in found]

    assert not any(str(job_id) in alive or ledgers[job_id - 1].last is None for job_id in found)
    assert len(ledgers) not in found, "the last one that came has its place"
    for i, ledger in enumerate(rest):
        if ledger.last is not None and ledger.job.job_id not in map(int, alive):
            assert not any(set(ledger.gpus) & set(later.gpus) for later in rest[i + 1 :])
    gpus_held = [gpu for ledger in ledgers for gpu in ledger.gpus]
    if sum(job[0] for job in jobs) <= 8 and len(set(gpus_held)) == len(gpus_held):
        assert not found
