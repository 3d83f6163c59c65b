# SPDX-License-Identifier: MIT
"""What tickets, node lists, cgroups and procfs say, and what they cannot make the collector believe."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector import host, hostlist, ticket
from carbon_collector.cgroups import Cgroups
from carbon_collector.topology import Topology

from .node import FileNode

if TYPE_CHECKING:
    from pathlib import Path

SLUID = "sEKNKTV3WPV500"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[08-10],m7", ["n08", "n09", "n10", "m7"]),
        ("a,b[1,3-4]-ib,c", ["a", "b1-ib", "b3-ib", "b4-ib", "c"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("", []),
    ],
)
def test_node_lists_expand(text: str, names: list[str]) -> None:
    """Slurm's order is kept, for the CPUs are listed in it."""
    assert hostlist.expand(text) == names


@pytest.mark.parametrize(
    "text", ["n[1-", "n[x]", "n[-5]", "n[1-99999999]", "n[1-9999]x[1-9999]", "n[1-999]x[1-999]x[1-999]"]
)
def test_a_node_list_that_is_none(text: str) -> None:
    """An error at once, not a gigabyte of names."""
    with pytest.raises(ValueError, match=r"."):
        hostlist.expand(text)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_node_list_harms(cpus: str, nodes: str) -> None:
    """Whatever is in the environment, the answer is a number or that it is not known."""
    found = hostlist.cpus_here(cpus, nodes, "n1")

    assert found is None or isinstance(found, int)


@pytest.mark.parametrize(
    ("cpus", "nodes", "here"),
    [
        ("3,1", "n[0-1]", 1),
        ("4(x2),1", "n[0-2]", 4),
        ("4(x2),1", "m,n2,n1", 1),
        ("8", "n[2-3]", None),
        ("", "n1", None),
        ("4", "n0,n1", None),
    ],
)
def test_cpus_of_this_node(cpus: str, nodes: str, here: int | None) -> None:
    """Found by the node's place in the list; unknown where the list does not say."""
    assert hostlist.cpus_here(cpus, nodes, "n1") == here


def env(**values: str) -> dict[str, str]:
    """A ticket's environment."""
    return {"SLURM_JOB_ID": "7", "SLURM_JOB_RESTART_COUNT": "2", **values}


@pytest.mark.parametrize(
    ("values", "run"),
    [
        ({}, "restart:2"),
        ({"SLURM_JOB_START_TIME": "1790000000"}, "start:1790000000"),
        ({"SLURM_JOB_START_TIME": "1790000000", "SLURM_JOB_SLUID": SLUID}, f"sluid:{SLUID}"),
        ({"SLURM_JOB_SLUID": "sEKNKTV3WPV50U"}, "restart:2"),
        ({"SLURM_JOB_START_TIME": "soon", "SLURM_JOB_RESTART_COUNT": "-1"}, "restart:0"),
    ],
)
def test_the_run_is_the_best_that_slurm_gives(values: dict[str, str], run: str) -> None:
    """SLUID (25.11+), else start time (23.02+), else restart count."""
    assert ticket.job_of(env(**values), "n1").run == run


@pytest.mark.parametrize("job_id", ["", "0", "-1", "x", "7 ", "٧", "9" * 30])
def test_a_ticket_without_a_job_id_is_none(job_id: str) -> None:
    """Slurm's JobID is a positive number in ASCII digits."""
    with pytest.raises(ValueError, match="no job id"):
        ticket.job_of({"SLURM_JOB_ID": job_id}, "n1")


@pytest.mark.parametrize(
    ("indexes", "visible", "gpus"),
    [
        ("0,1", "0,1", ("0", "1")),
        ("0,1", "GPU-a,GPU-b", ("GPU-a", "GPU-b")),
        ("0", "MIG-a,MIG-b", ("0",)),
        ("0,1", "MIG-a,1", ("MIG-a", "1")),
        ("", "GPU-a", ()),
        ("3", "", ("3",)),
    ],
)
def test_gpus_by_uuid_where_slurm_knows_them(indexes: str, visible: str, gpus: tuple[str, ...]) -> None:
    """A job without a GPU has none, whatever CUDA_VISIBLE_DEVICES says."""
    assert ticket.gpus_of({"SLURM_JOB_GPUS": indexes, "CUDA_VISIBLE_DEVICES": visible}) == gpus


@given(st.binary(max_size=300))
def test_no_ticket_harms(data: bytes) -> None:
    """Any bytes are an environment, or none."""
    parsed = ticket.parse(data)

    assert all(isinstance(key, str) and "\0" not in value for key, value in parsed.items())


def test_tickets_are_read_whole_or_not_at_all(tmp_path: Path) -> None:
    """Not yet whole: None; never finished, a link, a pipe, another kind: an error; the order is by time."""
    good = b"KIND=prolog\0SLURM_JOB_ID=7\0END=1\0"
    path = tmp_path / "prolog.7.1"
    for cut in range(len(good)):
        path.write_bytes(good[:cut])
        assert ticket.read(str(path), "n1", 0) is None
    with pytest.raises(ValueError, match="never finished"):
        ticket.read(str(path), "n1", 1 << 62)
    path.write_bytes(good)
    os.utime(path, ns=(0, 5_000_000))
    found = ticket.read(str(path), "n1", 0)
    assert found is not None
    assert (found.kind, found.wall_us, found.job.job_id) == ("prolog", 5000, 7)
    path.write_bytes(good.replace(b"prolog", b"burglar"))
    with pytest.raises(ValueError, match="neither"):
        ticket.read(str(path), "n1", 0)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP has no class of its own
        ticket.read(str(tmp_path / "link"), "n1", 0)
    os.mkfifo(tmp_path / "pipe")
    assert ticket.read(str(tmp_path / "pipe"), "n1", 0) is None
    os.utime(tmp_path / "link", ns=(0, 1), follow_symlinks=False)
    assert ticket.scan(str(tmp_path))[0].endswith("link")
    assert ticket.scan(str(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("cgroup", ["v1", "v2"])
def test_cgroups_of_every_layout(tmp_path: Path, cgroup: str) -> None:
    """Jobs by JobID and SLUID, CPU time by socket where the kernel gives it, the parent's sum, memory."""
    node = FileNode(tmp_path, cgroup=cgroup, has_slurm=False)
    topology = host.topology(str(node.sys), str(node.proc))
    cgroups = Cgroups(str(node.cgroupfs), "n1", topology)
    assert (cgroups.jobs(), cgroups.parent_usage()) == ({}, None)
    names = ["7"] if cgroup == "v1" else ["7", SLUID]
    for name in names:
        node.start_job(name)
        node.burn(name, 0, 1.5)
        node.burn(name, 1, 0.5)
        node.set_job_memory(name, 4096)
    found = cgroups.jobs()
    usage = cgroups.usage(found["7"])
    node.end_job("7")
    parent = cgroups.parent_usage()

    assert sorted(found) == names
    assert usage is not None
    assert usage[:3] == (2_000_000, {0: 1_500_000, 1: 500_000} if cgroup == "v1" else {}, 4096)
    assert found["7"].uid == (1000 if cgroup == "v1" else None)
    assert cgroups.usage(found["7"]) is None
    assert parent is not None
    assert parent.cpu_us == 2_000_000 * len(names)


@pytest.mark.parametrize("folder", ["system.slice", "slurm.slice", "machine.slice/box", ""])
@pytest.mark.parametrize("scope", ["slurmstepd.scope", "n1_slurmstepd.scope"])
def test_scopes_in_other_slices(tmp_path: Path, folder: str, scope: str) -> None:
    """CgroupSlice= (25.11), containers, several slurmd on one host; slurmstepd's own child is no job."""
    base = tmp_path / folder / scope
    for name, usage in (("", 900), ("job_5", 500), ("system", 100)):
        (base / name).mkdir(parents=True, exist_ok=True)
        (base / name / "cpu.stat").write_text(f"usage_usec {usage}\nuser_usec 1\n")
    cgroups = Cgroups(str(tmp_path), "n1", Topology({0: 0}))
    parent = cgroups.parent_usage()

    assert list(cgroups.jobs()) == ["5"]
    assert parent is not None
    assert parent.cpu_us == 800


def test_the_host_as_the_kernel_shows_it(tmp_path: Path) -> None:
    """Topology, busy time without idle, memory in use; what is missing is unknown, and raises nothing."""
    node = FileNode(tmp_path)
    (node.proc / "stat").write_text(
        "cpu 1 1 1 1 1 1 1 1 0 0\n" + "".join(f"cpu{i} 1 2 3 999 99 4 5 77 1 1\n" for i in range(8)) + "intr 0\n"
    )
    topology = host.topology(str(node.sys), str(node.proc))

    assert (topology.cpus, topology.cpus_on(0), topology.cpus_on(7)) == (8, 4, 0)
    assert host.busy_us(str(node.proc), topology) == {0: 4 * 150_000, 1: 4 * 150_000}
    assert host.memory(str(node.proc))[1] == 1 << 30
    assert host.parse_cpu_list("0-2,8, 10-11\n") == [0, 1, 2, 8, 10, 11]
    assert host.parse_cpu_list("") == []
    nowhere = str(tmp_path / "nowhere")
    assert host.topology(nowhere, nowhere).cpus == 0
    assert host.busy_us(nowhere, topology) == {0: 0, 1: 0}
    assert host.memory(nowhere)[:2] == (0, None)
    assert host.boot_id(nowhere) == "unknown"
    assert host.cpu_vendor(nowhere) == ""
