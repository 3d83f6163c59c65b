# SPDX-License-Identifier: MIT
"""A cluster leaves nothing behind: no process, no mount, no cgroup, no file outside its folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm import cgroups
from slurm.cluster import Cluster
from slurm.jobs import running
from slurm.layout import CHECKOUT
from slurm.processes import alive, child_of

pytestmark = pytest.mark.slurm

PLACES = ("/etc", "/etc/slurm", "/etc/munge", "/run", "/opt", "/home", "/dev", "/var/lib", "/var/spool", "/var/log")
START = """
import sys, time
from pathlib import Path
from slurm.cluster import Cluster
cluster = Cluster(Path(sys.argv[1]))
cluster.start()
print("up", flush=True)
time.sleep(600)
"""


def host() -> tuple[object, ...]:
    """What a cluster could have changed on this host."""
    names = {place: sorted(os.listdir(place)) for place in PLACES if Path(place).is_dir()}  # noqa: PTH208 names suffice
    mounts = Path("/proc/self/mounts").read_text()
    return names, mounts, Path("/etc/passwd").read_bytes(), Path("/etc/ld.so.cache").read_bytes()


def groups(pid: int) -> list[Path]:
    """The cgroups of the cluster whose first process this is."""
    found = (hierarchy.cluster(f"{cgroups.PREFIX}{pid}") for hierarchy in cgroups.hierarchies())
    return [path for path in found if path.exists()]


def test_a_second_cluster_runs_beside_the_first_and_leaves_nothing(cluster: Cluster, folder: Path) -> None:
    """Two clusters do not meet; one that was stopped is gone without a trace."""
    before = host()
    with Cluster(folder / "second", name="second") as second:
        job = second.sbatch("alice", "-N", "2", script="#!/bin/sh\nsleep 1\n")
        assert set(second.wait_for([job]).values()) == {"COMPLETED"}
        # It is stopped with a job that runs and one that is suspended, whose processes are frozen.
        for node in ("n1", "n2"):
            running(second, last := second.sbatch("alice", "-w", node, script="#!/bin/sh\nsleep 600\n"))
        second.run(["scontrol", "suspend", str(last)])
        pid = int((folder / "second" / "cluster.pid").read_text().split()[0])
        init = child_of(pid)
        assert groups(pid)

    assert not alive(pid)
    assert not alive(init)
    assert groups(pid) == []
    assert host() == before


def test_a_cluster_whose_owner_is_killed_ends_and_is_cleared_away(folder: Path) -> None:
    """After kill -9 of its owner every process of a cluster ends at once; the next start removes the rest."""
    before = host()
    place = folder / "killed"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "tests")}
    with subprocess.Popen(
        [sys.executable, "-c", START, str(place)], stdout=subprocess.PIPE, text=True, env=environment
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        pid = int((place / "cluster.pid").read_text().split()[0])
        init = child_of(pid)
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (alive(pid) or alive(init)) and time.monotonic() < deadline:
        time.sleep(0.1)

    assert not alive(pid)
    assert not alive(init)
    with Cluster(place) as again:
        assert again.run(["sinfo", "-h", "-o", "%D %T"]).stdout.split() == ["4", "idle"]
    assert groups(pid) == []
    assert host() == before
