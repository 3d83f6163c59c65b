# SPDX-License-Identifier: MIT
"""Use that no cgroup shows is never taken for none: it is found elsewhere, or shared by what is held, and says so.

The nodes are rebuilt from public reports of other tools' users, which each test names; the values are our own.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.queries.quality import ComponentState, judge
from carbon_collector.attribution import records
from carbon_collector.attribution.advance import CPU_GUESSED, advance
from carbon_collector.attribution.books import Books
from carbon_collector.attribution.cpu_time import Presence, held
from carbon_collector.attribution.ledger import PROLOG, Ledger
from carbon_collector.attribution.memory_use import memory_use
from carbon_collector.cgroups import Cgroups
from carbon_collector.reader import ACCOUNTED_US
from carbon_collector.topology import Topology
from carbon_collector.usage import Usage

from .node import FileNode
from .process import Aggregator, Host, stopping
from .world import DOMAINS, TOPOLOGY, World, make_job

if TYPE_CHECKING:
    from pathlib import Path

JOULE = 1_000_000
SECOND = 1_000_000
GIB = 1 << 30
ZONES = ("intel-rapl:0", "intel-rapl:1")
PODS = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaf31.slice"


def rows_of(got: Aggregator, job_id: int) -> list[dict[str, Any]]:
    """A job's rows."""
    return got.of("job_slot", job_id)


def dynamic(got: Aggregator, component: str, job_id: int) -> int:
    """Microjoules of a job beyond its static part."""
    shares = [row["components"][component] for row in rows_of(got, job_id)]
    return sum(share["energy_uj"] - share["static_uj"] for share in shares)


def busy(host: Host, readings: int, work: dict[str, list[int]]) -> None:
    """Let time pass: each package draws 10 J between two readings, and jobs use their CPUs for 0.1 s."""
    for _ in range(readings):
        time.sleep(0.02)
        for zone in ZONES:
            host.node.add_energy(zone, 10 * JOULE)
        for job, cpus in work.items():
            for cpu in cpus:
                host.node.burn(job, cpu, 0.1)
        host.tick()


@pytest.mark.parametrize(
    "above",
    [
        "system.slice",
        "system.slice/docker-4f3c.scope/system.slice",  # giovtorres/slurm-docker-cluster
        f"{PODS}/system.slice",  # stackhpc/slurm-k8s-cluster issues 38 and 39
        f"{PODS}/cri-containerd-77aa.scope/system.slice",
    ],
)
def test_jobs_of_a_slurmd_in_a_container_are_found(tmp_path: Path, aggregator: Aggregator, above: str) -> None:
    """Wherever slurmstepd's scope lies, the job has the CPU time and the dynamic energy that it used."""
    node = FileNode(tmp_path / "node", cgroup="v2", has_slurm=False)
    scope = node.cgroupfs / above / "slurmstepd.scope"
    node._job_dir = lambda job, _uid=1000: scope / f"job_{job}"  # type: ignore[method-assign]
    with stopping(Host(tmp_path, node, aggregator, idle_watts="2")) as host:
        host.start()
        node.start_job("1")
        node.burn("1", 0, 0)
        host.ticket("prolog", 1)
        time.sleep(0.3)  # the whole tree is searched four times a second
        host.tick()
        busy(host, 6, {"1": [0, 1, 2, 3]})
        got = host.collect()

    assert sum(row["cpu_us"] for row in rows_of(got, 1)) == pytest.approx(2_400_000, abs=1)
    assert {row["components"]["cpu"]["method"] for row in rows_of(got, 1)} == {"counter"}
    assert dynamic(got, "cpu", 1) > 0.8 * got.energy("cpu") - 30 * JOULE  # type: ignore[operator] # some energy is here
    assert got.is_conserved()


@pytest.mark.parametrize("controller", ["cpuacct", "cpu,cpuacct"])
def test_jobs_of_a_slurmd_in_a_container_are_found_on_v1(tmp_path: Path, controller: str) -> None:
    """Below docker's own cgroup (giovtorres/slurm-docker-cluster); `slurm_<node>` where slurmd may run several times
    (plazonic/cgroup_exporter issue 14). Another node's are not taken.
    """
    for name in ("slurm_n1", "slurm_n2"):
        job = tmp_path / controller / "docker/4f3c" / name / "uid_1000/job_7"
        job.mkdir(parents=True)
        (job / "cpuacct.usage_percpu").write_text("5000000000 \n")
    cgroups = Cgroups(str(tmp_path), "n1", Topology({0: 0}))

    assert [found.path.split("/")[-3] for found in cgroups.jobs().values()] == ["slurm_n1"]


def test_a_scope_of_another_name_that_is_left_hides_no_jobs(tmp_path: Path) -> None:
    """A Slurm that was built anew without --enable-multiple-slurmd (ceems-dev/ceems issue 284) leaves its old scope."""
    for scope in ("n1_slurmstepd.scope", "slurmstepd.scope/job_5"):
        (tmp_path / "system.slice" / scope).mkdir(parents=True)
    cgroups = Cgroups(str(tmp_path), "n1", Topology({0: 0}))
    assert cgroups.jobs() == {}
    cgroups.search(is_urgent=True)

    assert list(cgroups.jobs()) == ["5"]


def test_two_pods_with_a_slurmd_each_are_both_seen(tmp_path: Path) -> None:
    """The meters count the whole host, so the jobs of every scope share them (stackhpc/slurm-k8s-cluster)."""
    for pod, job in (("pod1", "5"), ("pod2", "6")):
        scope = tmp_path / "kubepods.slice" / pod / "slurmstepd.scope"
        for folder in (scope, scope / f"job_{job}"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cpu.stat").write_text(f"usage_usec {job}00\n")
    cgroups = Cgroups(str(tmp_path), "host", Topology({0: 0}))
    parent = cgroups.parent_usage()

    assert sorted(cgroups.jobs()) == ["5", "6"]
    assert parent is not None
    assert parent.cpu_us == 1100


def test_a_directory_of_jobs_that_is_left_in_cpuacct_says_nothing_of_their_use(
    tmp_path: Path, aggregator: Aggregator
) -> None:
    """JobAcctGatherType was changed to jobacct_gather/linux and nobody has booted: cpuacct/slurm_n1 is left, without jobs,
    and job 1 has its cgroup in freezer only (sibling of treydock/cgroup_exporter issue 15). Its use was taken for none.
    Job 2, of before the change, keeps what its own cgroup shows; job 3 has no step at all and has used nothing.
    """
    node = FileNode(tmp_path / "node", cgroup="v1")
    with stopping(Host(tmp_path, node, aggregator, idle_watts="2")) as host:
        host.start()
        node.start_job("2")
        for job, cpus in ((1, "4"), (2, "2"), (3, "2")):
            host.ticket("prolog", job, SLURM_JOB_CPUS_PER_NODE=cpus)
        (node.cgroupfs / "freezer/slurm_n1/uid_1000/job_1").mkdir(parents=True)
        host.tick()
        time.sleep(ACCOUNTED_US / SECOND + 0.2)
        host.tick()
        for _ in range(6):
            with host.frozen():
                time.sleep(0.05)  # no job is given more CPU time than its CPUs have had time
                for zone in ZONES:
                    node.add_energy(zone, 10 * JOULE)
                node.burn("2", 0, 0.1)
                for cpu in (1, 2, 3, 4):
                    node.burn_system(cpu, 0.1)  # job 1's, which no cgroup shows
            host.tick()
        (node.cgroupfs / "freezer/slurm_n1/uid_1000/job_1").rmdir()
        host.ticket("epilog", 1)
        got = host.collect()

    shares = {job: rows_of(got, job)[0]["components"]["cpu"] for job in (1, 2, 3)}
    assert {job: share["method"] for job, share in shares.items()} == {1: "shared", 2: "counter", 3: "counter"}
    assert CPU_GUESSED in shares[1]["reason"]
    assert dynamic(got, "cpu", 1) > 5 * JOULE
    assert dynamic(got, "cpu", 2) > 5 * JOULE
    assert dynamic(got, "cpu", 3) == 0
    assert got.is_conserved()


@pytest.mark.parametrize("why", ["jobacct_gather/linux", "proctrack/linuxproc"])
def test_without_accounting_by_cgroup_cpu_time_is_shared_and_says_so(
    tmp_path: Path, aggregator: Aggregator, why: str
) -> None:
    """No cpuacct directory (treydock/cgroup_exporter issue 15), or no cgroup of Slurm's at all
    (omnivector-solutions/snap-slurm issue 82): the job gets what the node used, not the system; the method is `shared`.
    """
    node = FileNode(tmp_path / "node", cgroup="v1" if why == "jobacct_gather/linux" else "v2", has_slurm=False)
    node._write_job = lambda _job, _uid: None  # type: ignore[method-assign]
    with stopping(Host(tmp_path, node, aggregator, idle_watts="2")) as host:
        host.start()
        node.start_job("1")
        shutil.rmtree(node.cgroupfs)
        host.ticket("prolog", 1, SLURM_JOB_CPUS_PER_NODE="8")
        busy(host, 6, {"1": list(range(8))})
        got = host.collect()
        said = host.said()

    assert dynamic(got, "cpu", 1) > 60 * JOULE
    for row in rows_of(got, 1):
        assert row["cpu_us"] is None
        assert (row["components"]["cpu"]["method"], row["components"]["cpu"]["reason"]) == ("shared", CPU_GUESSED)
    assert said.count(CPU_GUESSED) == 1
    assert got.is_conserved()


@pytest.mark.parametrize("shown", ["memory.current", "nothing", "hugetlb.2MB.current", "huge pages of the node"])
def test_memory_that_no_cgroup_shows_is_the_jobs_that_holds_it(
    tmp_path: Path, aggregator: Aggregator, shown: str
) -> None:
    """Without the memory controller (aws/aws-parallelcluster-cookbook pull request 1450), or with huge pages, that are
    not in memory.current (HPE's craype-hugepages), the dynamic energy of the memory is the one job's that is there.
    """
    node = FileNode(tmp_path / "node", cgroup="v2")
    node.set_memory(2 * GIB)
    with stopping(Host(tmp_path, node, aggregator, idle_watts="2")) as host:
        host.start()
        for zone in ("intel-rapl:0:0", "intel-rapl:1:0"):
            node.add_energy(zone, JOULE // 10)
        host.tick()
        node.start_job("1")
        node.set_job_memory("1", 40 * GIB if shown == "memory.current" else GIB)
        node.set_memory(43 * GIB)
        if shown == "nothing":
            (node._job_dir("1") / "memory.current").unlink()
        elif shown == "hugetlb.2MB.current":
            (node._job_dir("1") / shown).write_text(f"{40 * GIB}\n")
        elif shown != "memory.current":
            with (node.proc / "meminfo").open("a") as file:
                file.write(f"HugePages_Total: {20 << 10}\nHugePages_Free: 0\nHugepagesize: 2048 kB\nHugetlb: 1 kB\n")
        host.ticket("prolog", 1, SLURM_JOB_CPUS_PER_NODE="8")
        for _ in range(5):
            for zone in ("intel-rapl:0:0", "intel-rapl:1:0"):
                node.add_energy(zone, 10 * JOULE)
            host.tick()
        got = host.collect()

    assert got.energy("dram", 1) >= 0.9 * 100 * JOULE  # type: ignore[operator] # some energy is here
    assert got.is_conserved()


@pytest.mark.parametrize("uses_memory", [True, False])
def test_a_memory_cgroup_that_goes_first_is_no_missing_controller(tmp_path: Path, uses_memory: bool) -> None:
    """On v1 slurmstepd removes the job's directories one after the other (or `ConstrainRAMSpace` is off and there is none
    of memory for anybody): a job whose memory is no longer shown keeps what it showed last.
    """
    node = FileNode(tmp_path)
    node.start_job("1")
    node.set_job_memory("1", 3 * GIB)
    cgroups = Cgroups(str(node.cgroupfs), node.name, Topology({0: 0}))
    job = cgroups.jobs()["1"]
    before = cgroups.usage(job)
    memory = node.cgroupfs / f"memory/slurm_{node.name}"
    shutil.rmtree(memory / "uid_1000" if uses_memory else memory)
    after = cgroups.usage(job)

    assert before is not None
    assert after is not None
    assert (before.memory, after.memory) == (3 * GIB, 0 if uses_memory else None)
    presence = Presence(0, 9, {0: 1000}, (), after, before, gone=True)
    ledger = Ledger(make_job(1, cpus=1), PROLOG, 0, 0)
    snapshot = World().snapshot()._replace(memory=8 * GIB, memory_total=32 * GIB)
    assert memory_use([ledger], [presence], snapshot, 2 * GIB, 8) == ([3 * GIB], 3 * GIB, [False])


def test_limits_that_slurmstepd_sets_late_are_not_missed(tmp_path: Path, aggregator: Aggregator) -> None:
    """The cgroup is there before it is confined (PrincetonUniversity/jobstats issue 8): what was read then is not final."""
    node = FileNode(tmp_path / "node", cgroup="v2")
    with stopping(Host(tmp_path, node, aggregator, idle_watts="9000")) as host:
        host.start()
        node.start_job("1")
        cpuset = node._job_dir("1") / "cpuset.cpus.effective"
        cpuset.write_text("0-7\n")
        host.ticket("prolog", 1, SLURM_JOB_CPUS_PER_NODE="2")
        host.tick()
        cpuset.write_text("0,2\n")
        host.tick()
        before = host.aggregator.energy("cpu", 1) or 0
        for _ in range(4):
            node.add_energy("intel-rapl:0", 2 * JOULE)  # idle, however soon the next reading comes
            host.tick()
        got = host.collect()

    assert before == 0
    assert got.energy("cpu", 1) == pytest.approx(4 * JOULE, rel=0.05)


def test_memory_that_is_not_shown_goes_by_what_is_held() -> None:
    """Known use stays; what else is used on the node is shared by limit, else by CPUs; so are huge pages of no cgroup."""
    ledgers = [Ledger(make_job(job_id, cpus=2), PROLOG, 0, 0) for job_id in (1, 2, 3)]
    ledgers[1].confine((), 24 * GIB)
    jobs = [
        Presence(0, 9, held(2, (), TOPOLOGY), (), Usage(1, {}, used), None, gone=False)
        for used in (4 * GIB, None, None)
    ]
    node = World().snapshot()._replace(memory=26 * GIB, memory_total=32 * GIB)

    assert memory_use(ledgers, jobs, node, 2 * GIB, 8) == ([4 * GIB, 15 * GIB, 5 * GIB], 0, [False, True, True])
    shown = [job._replace(usage=Usage(1, {}, 2 * GIB)) for job in jobs]
    assert memory_use(ledgers, shown, node, 2 * GIB, 8) == ([2 * GIB] * 3, 18 * GIB, [False] * 3)
    pages = node._replace(huge_unseen=10 * GIB)
    assert memory_use(ledgers, shown, pages, 2 * GIB, 8) == (
        [2 * GIB + part * GIB // 10 for part in (20, 60, 20)],
        8 * GIB,
        [True] * 3,
    )


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.booleans(), st.booleans(), st.integers(0, 3 * SECOND)), min_size=1, max_size=4
    ),
    st.booleans(),
    st.integers(1, 5),
)
def test_whatever_is_not_shown_the_sum_holds_and_nothing_guessed_is_called_measured(
    jobs: list[tuple[int, bool, bool, int]], has_parent: bool, readings: int
) -> None:
    """Jobs with and without a cgroup, with and without memory: jobs, idle and system are the meters' to the microjoule,
    nobody has more than a meter counted, and who has dynamic energy that was not seen is `shared`.
    """
    world = World()
    books = Books("00000001", TOPOLOGY, DOMAINS, {})
    advance(books, world.snapshot())
    for job_id, (cpus, has_cgroup, _, _) in enumerate(jobs, 1):
        books.open(Ledger(make_job(job_id, cpus=cpus), PROLOG, world.wall_us, world.mono_us))
        if has_cgroup:
            world.start_job(str(job_id))
    for _ in range(readings):
        used = {str(job_id): {0: us, 1: us // 2} for job_id, (_, _, _, us) in enumerate(jobs, 1)}
        world.run(10 * SECOND, {"package-0": 90, "package-1": 60, "dram-0": 9, "dram-1": 9}, used)
        seen = world.snapshot()
        hidden = {str(job_id) for job_id, (_, _, shows_memory, _) in enumerate(jobs, 1) if not shows_memory}
        shown = {name: usage._replace(memory=None) if name in hidden else usage for name, usage in seen.jobs.items()}
        parent = seen.parent if has_parent else None
        lost = frozenset({"1"} if not jobs[0][1] else ())  # has a cgroup, but none that accounts for CPU time
        advance(books, seen._replace(jobs=shown, parent=parent, has_parent=has_parent, unaccounted=lost))
    rows = [record for batch in records.batches(books) for record in batch.records(1, 8)]

    for component in ("cpu", "dram"):
        whole = sum(r["components"][component]["energy_uj"] for r in rows if r["type"] == "node_slot")
        rest = [r["components"][component] for r in rows if r["type"] == "node_slot"]
        own = [r["components"][component] for r in rows if r["type"] == "job_slot"]
        of_jobs = sum(share["energy_uj"] for share in own)
        assert of_jobs + sum(share["idle_uj"] + share["system_uj"] for share in rest) == whole
        assert all(0 <= share["static_uj"] <= share["energy_uj"] <= whole for share in own)
    for row in rows:
        if row["type"] != "job_slot" or (has_parent and row["job_id"] != 1):
            continue
        _, has_cgroup, _, _ = jobs[row["job_id"] - 1]
        share = row["components"]["cpu"]
        if not has_cgroup and (share["energy_uj"] - share["static_uj"]) * 100 > share["energy_uj"]:
            assert share["method"] == "shared"
            assert judge({"cpu": ComponentState(1, 1, 1, share["method"])}, 0, 0).quality == "estimated"
