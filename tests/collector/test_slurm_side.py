# SPDX-License-Identifier: MIT
"""Slurm's node is not Linux's: whose a ticket is, and which part of the node a job pays for, whatever Slurm counts."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.attribution.cpu_time import MILLI, held
from carbon_collector.attribution.ledger import Ledger
from carbon_collector.log import Log
from carbon_collector.meters.base import Part
from carbon_collector.slurm_node import Answer, SlurmNode
from carbon_collector.slurm_side import SlurmSide
from carbon_collector.ticket import Ticket
from carbon_collector.topology import Topology

from .node import FileNode
from .process import Aggregator, Host, eventually, stopping
from .world import make_job

JOULE = 1_000_000


def with_threads(node: FileNode) -> None:
    """Two hardware threads a core, as the kernel shows it: CPU n and CPU n + half are siblings."""
    half = node.cpus // 2
    for cpu in range(node.cpus):
        path = node.sys / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        path.write_text(f"{cpu % half},{cpu % half + half}\n")


def confine(node: FileNode, job: int, cpus: str) -> None:
    """The job's cpuset."""
    folder = node.cgroupfs / f"cpuset/slurm_{node.name}/uid_1000/job_{job}"
    folder.mkdir(parents=True)
    (folder / "cpuset.cpus").write_text(f"{cpus}\n")


def run(host: Host, jobs: dict[int, tuple[str, str]], **env: str) -> Aggregator:
    """Jobs with so many CPUs of Slurm's and such a cpuset ("": none) hold the node while its sockets count 10 J each."""
    for job, (cpus, cpuset) in jobs.items():
        if cpuset:
            host.node.start_job(str(job))
            confine(host.node, job, cpuset)
        host.ticket("prolog", job, SLURM_JOB_CPUS_PER_NODE=cpus, **env)
    host.tick()
    host.tick()
    before = host.last()["mono_us"]
    for package in (0, 1):
        host.node.add_energy(f"intel-rapl:{package}", 10 * JOULE)
    host.tick()
    assert host.last()["mono_us"] > before
    return host.collect()


@pytest.fixture
def threaded(tmp_path: Path, aggregator: Aggregator) -> Iterator[Host]:
    """A node of 8 cores with 16 hardware threads."""
    node = FileNode(tmp_path / "node", cpus_per_socket=8)
    with_threads(node)
    with stopping(Host(tmp_path, node, aggregator, idle_watts="9000")) as host:
        yield host


@pytest.mark.parametrize(
    ("jobs", "env", "expected"),
    [
        # Azure/cyclecloud-slurm #446: CPUs=8 with ThreadsPerCore=2.
        ({1: ("8", "0-15")}, {}, {1: 1.0}),
        ({1: ("4", "0-15"), 2: ("4", "0-15")}, {}, {1: 0.5, 2: 0.5}),
        ({1: ("4", "0,2,4,6,8,10,12,14"), 2: ("4", "1,3,5,7,9,11,13,15")}, {}, {1: 0.5, 2: 0.5}),
        # The same node where Slurm counts threads (slurm.conf(5), CPUs): half a node stays half.
        ({1: ("8", "0-3,8-11")}, {}, {1: 0.5}),
        ({1: ("12", "")}, {}, {1: 0.75}),
        # Slurm 23.02 and later says that a job has the node for itself; no cpuset is needed.
        ({1: ("8", "")}, {"SLURM_JOB_OVERSUBSCRIBE": "NO"}, {1: 1.0}),
        ({1: ("16", "")}, {"SLURM_JOB_OVERSUBSCRIBE": "NO"}, {1: 1.0}),
    ],
)
def test_a_jobs_share_is_its_cpus_of_slurms(
    threaded: Host, jobs: dict[int, tuple[str, str]], env: dict[str, str], expected: dict[int, float]
) -> None:
    """On a machine with two threads a core, whether Slurm counts cores or threads; what nobody holds is idle."""
    threaded.start()
    got = run(threaded, jobs, **env)
    node_uj = got.energy("cpu")
    assert node_uj

    for job, part in expected.items():
        assert (got.energy("cpu", job) or 0) / node_uj == pytest.approx(part, abs=0.02)
    assert got.is_conserved()


@given(
    threads=st.integers(1, 64),
    slurm=st.integers(1, 256),
    data=st.data(),
)
def test_whatever_slurm_counts_a_full_node_is_full(threads: int, slurm: int, data: st.DataObject) -> None:
    """Jobs that hold all of Slurm's CPUs hold all of Linux's, more or fewer, and never more than all."""
    topology = Topology({cpu: cpu % 2 for cpu in range(threads)})
    left, parts = slurm, []
    while left:
        parts.append(data.draw(st.integers(1, left)))
        left -= parts[-1]
    whole = [held(cpus, (), topology, slurm) for cpus in parts]

    for socket in set(topology.socket_of.values()):
        sum_held = sum(one[socket] for one in whole)
        assert topology.cpus_on(socket) * MILLI - len(parts) <= sum_held <= topology.cpus_on(socket) * MILLI


@pytest.mark.parametrize("name", ["n1", "n1.hpc.example", "compute-07"])
def test_the_node_is_who_the_ticket_says(host: Host, name: str) -> None:
    """GoogleCloudPlatform/slurm-gcp PR 142, mej/nhc #19, open-mpi/ompi #2328; and a pod whose host name is another,
    facebookresearch/gcm PR 46: the segments are of Slurm's NodeName, and the job has its CPUs.
    """
    host.start(idle_watts="9000")
    host.ticket("prolog", 1, SLURMD_NODENAME=name, SLURM_NODELIST=name, SLURM_JOB_CPUS_PER_NODE="8")
    host.node.count(10 * JOULE)
    host.tick()
    got = host.collect()

    [ledger] = got.of("ledger", 1)
    assert ledger["cpus"] == 8
    assert {json.loads(body.splitlines()[0])["node"] for body in got.segments.values()} == {name}
    assert got.energy("cpu", 1) == pytest.approx(got.energy("cpu"), rel=0.02)


def test_a_node_that_is_renamed_counts_nothing_twice(host: Host) -> None:
    """After segments have gone out under one name (an instance that is replaced, aws-parallelcluster #5682): what follows
    is of a new stream, and both together are what the meters counted.
    """
    host.start()
    host.ticket("prolog", 1, SLURMD_NODENAME="n1")
    host.node.count(10 * JOULE)
    host.ticket("epilog", 1, SLURMD_NODENAME="n1")
    eventually(lambda: host.aggregator.is_closed(1), "shipped under the old name")
    host.kill()
    host.start()
    host.ticket("prolog", 2, SLURMD_NODENAME="n2", SLURM_NODELIST="n2")
    host.node.count(10 * JOULE)
    host.tick()
    got = host.collect()

    heads = [json.loads(body.splitlines()[0]) for body in got.segments.values()]
    assert {head["node"] for head in heads} == {"n1", "n2"}
    assert len({head["stream"] for head in heads}) == 2
    assert got.energy("cpu") == 40 * JOULE
    assert got.is_conserved()


def test_two_slurmd_of_one_host_with_folders_of_their_own(tmp_path: Path, aggregator: Aggregator) -> None:
    """ceems-dev/ceems #284, PrincetonUniversity/jobstats #61: both collectors would claim the whole host. The second one
    says in one line why its jobs are unknown, nothing is counted twice, and it takes over when the first one ends.
    """
    node = FileNode(tmp_path / "node", name="h1a", cgroup="v2")
    other = copy.copy(node)
    other.name = "h1b"
    theirs = Aggregator(aggregator.munge_socket)
    theirs.start()
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
    with stopping(Host(roots[0], node, aggregator)) as first, stopping(Host(roots[1], other, theirs)) as second:
        first.start()
        second.start()
        for number, host in enumerate((first, second), 1):
            host.ticket("prolog", number, SLURMD_NODENAME=host.node.name, SLURM_NODELIST=host.node.name)
        node.count(30 * JOULE)
        first.tick()
        second.tick()
        got = first.collect()
        eventually(lambda: second.last()["readings"], "the second one reads the meters now")
        node.count(5 * JOULE)
        second.tick()
        late = second.collect()
    theirs.stop()

    assert got.energy("cpu") == 60 * JOULE
    assert late.energy("cpu") == 10 * JOULE
    [row] = late.of("job_slot", 2)
    assert "read by another collector" in row["components"]["cpu"]["reason"]
    assert len([line for line in second.said().splitlines() if "SEVERAL SLURMD" in line]) == 1


def test_two_slurmd_of_one_host_with_one_collector(host: Host) -> None:
    """A job of the other node is refused in one line while one of this node is here; its energy is nobody's else."""
    host.start()
    host.ticket("prolog", 1, SLURMD_NODENAME="n1")
    for job in (2, 3):
        host.ticket("prolog", job, SLURMD_NODENAME="n1b", SLURM_NODELIST="n1b")
        host.ticket("epilog", job, SLURMD_NODENAME="n1b", SLURM_NODELIST="n1b")
    host.node.count(10 * JOULE)
    host.ticket("epilog", 1, SLURMD_NODENAME="n1")
    got = host.collect()

    assert {row["job_id"] for row in got.of("ledger")} == {1}
    assert {json.loads(body.splitlines()[0])["node"] for body in got.segments.values()} == {"n1"}
    assert len([line for line in host.said().splitlines() if "n1b is not metered" in line]) == 1
    assert got.is_conserved()


class Said:
    """Answers in scontrol's place."""

    done = False

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def follow(self, *_: str) -> Answer:
        """Answer at once."""
        return self.answer


def side(tmp_path: Path, answer: Answer, name: str = "", threads: int = 16) -> SlurmSide:
    """The node's side of Slurm, which has just answered so."""
    made = SlurmSide(name, threads, str(tmp_path), Log(str(tmp_path / "log")))
    made._question = Said(answer)  # type: ignore[assignment]
    return made


def held_by(*cpus: int) -> list[Ledger]:
    """Ledgers of jobs with so many CPUs."""
    return [Ledger(make_job(number, cpus=each), "prolog", 0, 0) for number, each in enumerate(cpus, 1)]


@pytest.mark.parametrize("counted", [8, 16, 64])
def test_what_slurm_says_holds(tmp_path: Path, counted: int) -> None:
    """Cores, threads, or more CPUs than there are (SlurmdParameters=config_overrides), whatever the jobs look like."""
    made = side(tmp_path, Answer(["n7"], {"n7": SlurmNode("n7", counted, 4)}, "tiny"), "n7")
    assert made.follow(False) == "n7"

    assert (made.count(16, held_by(8)), made.cluster, made.shards) == (counted, "tiny", 4)


def test_the_name_of_a_node_that_nobody_has_named(tmp_path: Path) -> None:
    """One name for this host in slurm.conf is the name; of several none is chosen before a ticket tells."""
    one = side(tmp_path, Answer(["compute-07"], {"compute-07": SlurmNode("compute-07", 8, 0)}, "tiny"))
    name = one.follow(True)
    one.rename(name)
    several = side(tmp_path, Answer(["h1a", "h1b"], {}, "tiny"))

    assert (one.name, one.count(16, [])) == ("compute-07", 8)
    assert several.follow(True) == several.name not in ("h1a", "h1b")


@pytest.mark.parametrize("named", ["h1a", ""])
def test_two_slurmd_share_the_hosts_cpus(tmp_path: Path, named: str) -> None:
    """A job's share is of the CPUs of all slurmd on the host, by whatever way the name came: it pays for no other node's."""
    both = {"h1a": SlurmNode("h1a", 4, 0), "h1b": SlurmNode("h1b", 12, 0)}
    made = side(tmp_path, Answer(["h1a", "h1b"], both, "tiny"), named)
    made.follow(True)
    name = made.new_name(Ticket("", "prolog", 0, make_job(1), "h1a"), lambda: False)
    if name != made.name:
        made.rename(str(name))

    assert (made.name, made.count(16, held_by(4))) == ("h1a", 16)
    assert made.new_name(Ticket("", "prolog", 0, make_job(2), "h1b"), lambda: True) is None
    assert made.count(16, held_by(4)) == 16


def test_what_is_known_survives(tmp_path: Path) -> None:
    """A collector that starts again does not ask again."""
    made = side(tmp_path, Answer(["n7"], {"n7": SlurmNode("n7", 8, 4)}, "tiny"), "n7")
    made.follow(True)
    again = side(tmp_path, Answer([], {}, ""), "")
    again.load(json.loads(json.dumps(made.save())))

    assert (again.name, again.count(16, []), again.shards) == ("n7", 8, 4)
    assert again.follow(True) == "n7"


@pytest.mark.parametrize(
    ("gpus", "shards", "each", "expected"),
    [
        (("0",), 1, 4, {"GPU-a": 250}),
        (("0",), 4, 4, {"GPU-a": 1000}),
        (("0", "1"), 2, 4, {"GPU-a": 250, "GPU-b": 250}),
        (("0",), 3, 0, {"GPU-a": 1000}),  # how many shards a GPU has is not known
        (("0",), None, 4, {"GPU-a": 1000}),  # the job holds no shards
        (("0",), 9, 4, {"GPU-a": 1000}),
        (("0",), 1, 5000, {"GPU-a": 1}),
    ],
)
def test_a_job_holds_its_shards_of_a_gpu(
    gpus: tuple[str, ...], shards: int | None, each: int, expected: dict[str, int]
) -> None:
    """In thousandths, by SLURM_SHARDS_ON_NODE and the shards that Slurm says a GPU has; never nothing, never more than all."""
    devices = {"0": Part("GPU-a", 1000, "GPU-a"), "1": Part("GPU-b", 1000, "GPU-b")}
    ledger = Ledger(make_job(1, gpus=gpus)._replace(shards=shards), "prolog", 0, 0)
    ledger.hold(devices, each)

    assert ledger.parts == expected
