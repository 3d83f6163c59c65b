# SPDX-License-Identifier: MIT
"""One GPU, several jobs: MIG, MPS and shards, through the real nvidia-ml-py on the stand-in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from carbon_collector.attribution.idle_power import LOWEST_US
from simulator.nvml_state import GPM

from .gpus import Gpus, ask, start
from .process import INTERVAL_S

if TYPE_CHECKING:
    from pathlib import Path

    from .process import Host

JOULE = 1_000_000
CYCLES = 10**9
SLICES = (("MIG-big", 1, 0, 4, 4), ("MIG-small", 2, 0, 3, 3))
"""4g and 3g of a GPU with 7 slices."""


def partitioned(host: Host, *instances: tuple[str, int, int, int, int], most: int = 7, flags: int = GPM) -> Gpus:
    """A GPU that is partitioned; Hopper and later have GPM."""
    gpus = Gpus(host.root / "nvml-state", [0])
    gpus.more[0].flags, gpus.more[0].max_instances = flags, most
    gpus.partition(0, *instances)
    return gpus


def begin(host: Host, job_id: int, *gpus: str, **env: str) -> None:
    """A job that was given these devices, by Slurm's indexes and by the names that Slurm knows."""
    indexes = ",".join(str(i) for i in range(len(gpus)))
    host.ticket("prolog", job_id, SLURM_JOB_GPUS=indexes, CUDA_VISIBLE_DEVICES=",".join(gpus), **env)


def settle(host: Host) -> None:
    """Readings from which on what is done on the GPU is known. Until then it draws nothing: its idle power is 0."""
    host.tick()
    with host.frozen():
        time.sleep(LOWEST_US / 1e6 + 0.05)
    host.tick()


def test_slices_pay_by_what_was_done_on_them(host: Host, library: Path) -> None:
    """On Hopper the busy multiprocessors of each instance are known: 4 slices at 20 % and 3 at 80 % are 8 to 24."""
    gpus = partitioned(host, *SLICES)
    start(host, library, gpus)
    begin(host, 1, "MIG-big")
    begin(host, 2, "MIG-small")
    settle(host)
    with host.frozen():
        gpus.count(40)
        gpus.work(0, CYCLES, _0=20, _1=80)
    host.tick()
    got = host.collect()

    assert [ledger["gpus"] for job in (1, 2) for ledger in got.of("ledger", job)] == [["MIG-big"], ["MIG-small"]]
    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (10 * JOULE, 30 * JOULE)
    assert got.energy("gpu") == 40 * JOULE
    assert got.is_conserved()


def test_without_gpm_slices_pay_by_their_size(host: Host, library: Path) -> None:
    """Ampere does not tell what was done on an instance: who holds more pays more, and the sum is the meter."""
    gpus = partitioned(host, *SLICES, flags=0)
    start(host, library, gpus)
    begin(host, 1, "MIG-big")
    begin(host, 2, "MIG-small")
    settle(host)
    with host.frozen():
        gpus.count(10)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (5.71 * JOULE, 4.29 * JOULE)
    assert got.is_conserved()


def test_one_instance_that_cannot_be_read_makes_nobody_pay_for_it(host: Host, library: Path) -> None:
    """What is known of the others alone would make them pay for all: it is split by size then."""
    gpus = partitioned(host, *SLICES)
    start(host, library, gpus)
    begin(host, 1, "MIG-big")
    begin(host, 2, "MIG-small")
    settle(host)
    gpus.more[0].instances[1].gpu_instance = 9  # not the one that was found
    with host.frozen():
        gpus.count(10)
        gpus.work(0, CYCLES, _0=90, _1=10)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (5.71 * JOULE, 4.29 * JOULE)


def test_compute_instances_share_their_gpu_instance(host: Host, library: Path) -> None:
    """1c and 2c of one 3g instance: what was done on it is theirs by their slices; the idle 4g pays nothing of it."""
    gpus = partitioned(host, ("MIG-1c", 2, 0, 3, 1), ("MIG-2c", 2, 1, 3, 2), ("MIG-4g", 1, 0, 4, 4))
    start(host, library, gpus)
    for job, uuid in enumerate(("MIG-1c", "MIG-2c", "MIG-4g"), start=1):
        begin(host, job, uuid)
    settle(host)
    with host.frozen():
        gpus.count(30)
        gpus.work(0, CYCLES, _0=50, _1=50)
    host.tick()
    got = host.collect()

    assert [got.energy("gpu", job) for job in (1, 2, 3)] == [10 * JOULE, 20 * JOULE, 0]
    assert got.is_conserved()


@pytest.mark.parametrize("name", ["MIG-big", "MIG-GPU-0/1/0"])
def test_both_spellings_of_a_mig_device_are_known(host: Host, library: Path, name: str) -> None:
    """Slurm names MIG devices as the driver of its time did; records have the driver's own name of today."""
    gpus = partitioned(host, *SLICES)
    start(host, library, gpus)
    begin(host, 1, name)
    settle(host)
    gpus.count(10)
    host.tick()
    got = host.collect()

    assert got.of("ledger", 1)[0]["gpus"] == ["MIG-big"]
    assert got.energy("gpu", 1) == got.energy("gpu") == 10 * JOULE


def test_the_index_of_a_partitioned_gpu_is_nobodys(host: Host, library: Path) -> None:
    """Slurm numbers MIG devices in its own way: an index that is not said to be a MIG device is not taken for one."""
    gpus = partitioned(host, *SLICES)
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    gpus.count(10)
    host.tick()
    got = host.collect()

    assert got.energy("gpu", 1) is None
    assert got.of("job_slot", 1)[0]["components"]["gpu"]["reason"] == "0: no such device"


@pytest.mark.parametrize(
    ("most", "slices", "share"), [(7, 1, 143), (7, 3, 429), (7, 7, 1000), (4, 1, 250), (4, 4, 1000)]
)
def test_a_share_is_slices_of_those_that_the_gpu_has(
    tmp_path: Path, library: Path, most: int, slices: int, share: int
) -> None:
    """7 of an A100 or H100, 4 of an A30."""
    gpus = Gpus(tmp_path / "state", [0])
    gpus.more[0].max_instances = most
    gpus.partition(0, ("MIG-x", 1, 0, slices, slices))

    assert ask("print(meter.parts['MIG-x'].share)", library, gpus, tmp_path) == share


def test_a_gpu_that_is_partitioned_anew_is_seen(tmp_path: Path, library: Path) -> None:
    """The collector runs on while an administrator changes the layout: the new parts can be held."""
    gpus = Gpus(tmp_path / "state", [0])
    gpus.more[0].max_instances = 7
    gpus.partition(0, ("MIG-old", 1, 0, 7, 7))
    script = """
import ctypes, os, mmap
names = [sorted(meter.parts)]
with open(os.environ["NVML_SIMULATED_STATE"], "r+b") as file:
    data = mmap.mmap(file.fileno(), 0)
data[(at := data.find(b"MIG-old")) : at + 7] = b"MIG-new"
meter.read()
names.append(bool(meter.found))
meter._looked_s = float("-inf")  # a minute later
meter.read()
print(json.dumps([*names, sorted(meter.parts), [domain.name for domain in meter.found]]))
"""

    assert ask(script, library, gpus, tmp_path) == [
        ["GPU-0", "MIG-GPU-0/1/0", "MIG-old"],
        False,
        ["GPU-0", "MIG-GPU-0/1/0", "MIG-new"],
        ["GPU-0"],
    ]


def process(host: Host, pid: int, job_id: int | None) -> None:
    """A process of a job, or of nobody's."""
    folder = host.node.proc / str(pid)
    folder.mkdir()
    job = f"slurm_n1/uid_1000/job_{job_id}/step_0/task_0" if job_id else "system.slice/sshd.service"
    (folder / "cgroup").write_text(f"12:cpuset:/{job}\n1:name=systemd:/{job}\n")


def test_shards_pay_by_what_their_processes_did(host: Host, library: Path) -> None:
    """Two jobs on one whole GPU; what somebody outside the jobs does on it does not make them pay alike."""
    gpus = Gpus(host.root / "nvml-state", [0])
    start(host, library, gpus)
    for job in (1, 2):
        host.ticket("prolog", job, SLURM_JOB_GPUS="0")
        process(host, 100 + job, job)
    process(host, 99, None)
    settle(host)
    with host.frozen():
        gpus.count(20)
        gpus.use(0, {101: 60, 102: 20, 99: 10, 0: 50})
        gpus.use(0, {102: 4_000_000})  # the driver's list is known to have such entries
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (15 * JOULE, 5 * JOULE)
    assert got.is_conserved()


def test_a_process_that_has_ended_is_still_its_jobs(host: Host, library: Path) -> None:
    """A job's last work on a shared GPU is read when its processes are gone: its neighbour does not pay for it."""
    gpus = Gpus(host.root / "nvml-state", [0])
    start(host, library, gpus)
    for job in (1, 2):
        host.ticket("prolog", job, SLURM_JOB_GPUS="0")
        process(host, 100 + job, job)
    settle(host)
    gpus.use(0, {101: 1, 102: 1})
    host.tick()
    time.sleep(3 * INTERVAL_S)  # it does nothing for some readings
    with host.frozen():
        gpus.count(20)
        gpus.more[0].sample_count = 0
        gpus.use(0, {101: 80, 102: 20})
        (host.node.proc / "101/cgroup").unlink()
        host.ticket("epilog", 1, wait=False, SLURM_JOB_GPUS="0")
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (16 * JOULE, 4 * JOULE)
    assert got.is_conserved()


def test_a_shared_gpu_on_which_nothing_was_done_is_paid_alike(host: Host, library: Path) -> None:
    """Its power is there all the same: who holds it pays for it, by the part held."""
    gpus = Gpus(host.root / "nvml-state", [0])
    start(host, library, gpus)
    for job in (1, 2):
        host.ticket("prolog", job, SLURM_JOB_GPUS="0")
    settle(host)
    gpus.count(20)
    host.tick()
    got = host.collect()

    assert got.energy("gpu", 1) == 10 * JOULE
    assert got.is_conserved()


@pytest.mark.parametrize(("use", "first"), [({}, 6), ({101: 45, 102: 5}, 18)])
def test_mps_jobs_pay_by_their_part_or_by_what_they_did(
    host: Host, library: Path, use: dict[int, int], first: int
) -> None:
    """30 % and 70 % of the threads of one GPU: by use where the driver tells it, else by that."""
    gpus = Gpus(host.root / "nvml-state", [0])
    start(host, library, gpus)
    for job, percent in ((1, 30), (2, 70)):
        host.ticket("prolog", job, SLURM_JOB_GPUS="0", CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=str(percent))
        process(host, 100 + job, job)
    settle(host)
    with host.frozen():
        gpus.count(20)
        gpus.use(0, use)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (first * JOULE, (20 - first) * JOULE)
    assert got.is_conserved()
