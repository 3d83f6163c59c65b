# SPDX-License-Identifier: MIT
"""Jobs that end between two readings: each pays for what it used, or its figure says that this was not seen."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.attribution.advance import TAIL_GUESSED
from carbon_collector.attribution.cpu_time import Presence, cpu_times, held, own_busy
from carbon_collector.cgroups import Cgroups
from carbon_collector.topology import Topology
from carbon_collector.usage import Usage
from carbon_collector.watch import Watch

from .node import FileNode
from .process import Aggregator, Host, eventually, stopping

JOULE = 1_000_000
SECOND = 1_000_000
TOPOLOGY = Topology({cpu: cpu % 2 for cpu in range(8)})


@pytest.mark.parametrize("cgroup", ["v1", "v2"])
@pytest.mark.parametrize("is_confined", [True, False])
def test_a_sleeper_does_not_pay_for_who_ended_with_it(
    tmp_path: Path, aggregator: Aggregator, cgroup: str, is_confined: bool
) -> None:
    """Tasks of an array end in the same second (seen on a real Slurm: the sleeper was charged 40 % of what its neighbour
    burned). By the CPUs of each where they are confined; without ConstrainCores the method says `shared`.
    """
    node = FileNode(tmp_path / "node", cgroup=cgroup)
    with stopping(Host(tmp_path, node, aggregator, idle_watts="10", interval="10 s")) as host:
        host.start()
        for job, cpus in (("1", "0,2"), ("2", "1,3,5,7")):
            node.start_job(job)
            folder = node._job_dir(job)
            name = "cpuset.cpus.effective"
            if cgroup == "v1":
                folder, name = node.cgroupfs / f"cpuset/slurm_n1/uid_1000/job_{job}", "cpuset.cpus"
                folder.mkdir(parents=True)
            (folder / name).write_text(f"{cpus if is_confined else '0-7'}\n")
        host.ticket("prolog", 1, SLURM_JOB_CPUS_PER_NODE="2")
        host.ticket("prolog", 2, SLURM_JOB_CPUS_PER_NODE="4")
        host.tick()
        with host.frozen():
            node.add_energy("intel-rapl:0", 40 * JOULE)
            node.add_energy("intel-rapl:1", JOULE)
            node.burn("1", 0, 0.9)
            node.end_job("1")
            node.end_job("2")
            host.ticket("epilog", 1, wait=False)
            host.ticket("epilog", 2, wait=False)
        eventually(lambda: not list((host.run_dir / "tickets").iterdir()), "the epilogs are taken in")
        got = host.collect()

    shares = {job: got.of("job_slot", job)[0]["components"]["cpu"] for job in (1, 2)}
    burned, slept = (share["energy_uj"] - share["static_uj"] for share in shares.values())
    assert burned + slept > 20 * JOULE
    if is_confined:
        assert slept < 0.02 * burned
        assert {share["method"] for share in shares.values()} == {"counter"}
    else:
        assert {share["method"] for share in shares.values()} == {"shared"}
        assert all(TAIL_GUESSED in share["reason"] for share in shares.values())
    assert got.is_conserved()


@given(
    st.lists(st.tuples(st.integers(0, SECOND), st.integers(0, SECOND)), min_size=2, max_size=4), st.integers(0, SECOND)
)
def test_tails_of_confined_jobs_are_their_own(used: list[tuple[int, int]], seen: int) -> None:
    """However many jobs end in an interval, on CPUs of their own each has what its CPUs were busy, to the microsecond;
    also where some of it was seen before, and where a job came and went between two readings (apache/airavata-custos
    issue 535).
    """
    cpusets = [(2 * i, 2 * i + 1) for i in range(len(used))]
    grown = {cpu: us for cpuset, pair in zip(cpusets, used, strict=True) for cpu, us in zip(cpuset, pair, strict=True)}
    own = own_busy(cpusets, grown, TOPOLOGY)
    first = Usage(min(seen, sum(used[0])), {}, 0)
    jobs = [
        Presence(0, SECOND, held(2, cpus, TOPOLOGY), cpus, first if i == 0 else None, None, i != 1, busy)
        for i, (cpus, busy) in enumerate(zip(cpusets, own, strict=True))
    ]
    jobs[1] = jobs[1]._replace(gone=True)
    total = sum(grown.values())
    times = cpu_times(jobs, Usage(total, {}, 0), Usage(0, {}, 0), {0: total, 1: 0}, TOPOLOGY)

    assert [sum(each.values()) for each in times.used] == [sum(pair) for pair in used]
    assert not any(times.guessed)


@given(st.integers(0, 10 * SECOND), st.integers(0, 10 * SECOND), st.integers(0, SECOND))
def test_who_cannot_be_told_apart_is_a_guess(first: int, second: int, more: int) -> None:
    """Two jobs on the same CPUs that ended unseen: their sum is exact, and both are a guess unless it is next to nothing."""
    jobs = [
        Presence(0, SECOND, held(4, (), TOPOLOGY), (), Usage(us, {}, 0), Usage(0, {}, 0), True)
        for us in (first, second)
    ]
    total = first + second + more
    times = cpu_times(jobs, Usage(total, {}, 0), Usage(0, {}, 0), {0: total, 1: 0}, TOPOLOGY)

    assert sum(sum(each.values()) for each in times.used) == total
    assert times.guessed == [more > max(20_000, (first + second) // 100)] * 2


def test_shared_cpus_are_nobodys_own() -> None:
    """A CPU that two jobs may use tells nothing of either; nor does one that is new."""
    assert own_busy([(0, 1), (1, 2), (3,), (), (5,)], {0: 1, 1: 2, 2: 3, 3: 4}, TOPOLOGY) == [
        None,
        None,
        {1: 4},
        None,
        None,
    ]


def test_a_task_that_ends_is_read_before_its_cgroup_goes(tmp_path: Path) -> None:
    """A process that slurmstepd has started ends: what its job's cgroup shows then is kept, although it is gone at the
    next reading; other processes of the job are not watched.
    """
    node = FileNode(tmp_path / "node", cgroup="v2")
    node.start_job("1")
    node.burn("1", 0, 1.5)
    cgroups = Cgroups(str(node.cgroupfs), "n1", TOPOLOGY)
    watch = Watch(cgroups, str(tmp_path / "proc"))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as task:
        (node._job_dir("1") / "step_batch/cgroup.procs").write_text(f"{task.pid}\n{os.getpid()}\n")
        for pid, parent in ((task.pid, 1), (os.getpid(), 2)):
            (tmp_path / f"proc/{pid}").mkdir(parents=True)
            (tmp_path / f"proc/{pid}/stat").write_text(f"{pid} (a) name) S {parent} 1\n")
        for pid, comm in ((1, "slurmstepd"), (2, "bash")):
            (tmp_path / f"proc/{pid}").mkdir(parents=True)
            (tmp_path / f"proc/{pid}/comm").write_text(f"{comm}\n")
        assert watch.follow(cgroups.jobs(), {"1"}, is_due=False) == {}
        assert len(watch._tasks) == 1
        task.communicate(b"\n")
        eventually(lambda: "1" in watch.ended, "the end is seen")
    node.end_job("1")
    time.sleep(0.01)
    gone = watch.follow(cgroups.jobs(), set(), is_due=True)

    assert gone["1"].cpu_us == 1_500_000
    assert watch.follow(cgroups.jobs(), set(), is_due=True) == {}


@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from(["burn", "task ends", "goes"])), max_size=16))
def test_a_job_that_goes_is_known_up_to_the_last_end_of_any_task(events: list[tuple[str, str]]) -> None:
    """Whatever the order in which jobs work, tasks end and cgroups go: of each job that went, what is kept is what its
    cgroup showed when a task on the node ended last before it went; never more than it used, never another job's.
    """
    with tempfile.TemporaryDirectory() as folder:
        node = FileNode(Path(folder), cgroup="v2")
        cgroups = Cgroups(str(node.cgroupfs), "n1", TOPOLOGY)
        for job in "123":
            node.start_job(job)
        watch, before = Watch(cgroups, f"{folder}/proc"), cgroups.jobs()
        watch.follow(before, set(), is_due=False)
        used, kept, here = dict.fromkeys("123", 0), {}, set("123")
        for job, event in events:
            if job not in here:
                continue
            if event == "burn":
                node.burn(job, 0, 0.5)
                used[job] += 500_000
            elif event == "task ends":
                fd = os.open(os.devnull, os.O_RDONLY)  # what a pidfd is to it: something to close
                watch._tasks[fd] = (0, before[job])
                watch._looked_s = 0.0
                watch._see_end(fd)
                watch._look_at_all()
                kept |= {name: used[name] for name in here}
            else:
                node.end_job(job)
                here.remove(job)
        gone = watch.follow(cgroups.jobs(), set(), is_due=False)

    assert {name: usage.cpu_us for name, usage in gone.items()} == {n: us for n, us in kept.items() if n not in here}
