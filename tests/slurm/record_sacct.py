# SPDX-License-Identifier: MIT
"""Records what the real sacct prints, for tests/accounting/slurm/sacct: `python -m slurm.record_sacct FOLDER [TREE]` as root.

It brings a cluster up, has jobs of every kind live their lives, and keeps sacct's output byte for byte. With the
tree of another Debian (`debootstrap --variant=minbase --include=slurm-wlm,slurmdbd,munge,mariadb-server SUITE TREE`)
it is that one's Slurm.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from carbon_acct.slurm.sacct import fields_of

from .cluster import Cluster
from .elsewhere import Elsewhere
from .jobs import burn, running

DELIMITER = "<recorded>"
SLEEP = "#!/bin/sh\nexec sleep 600\n"
NAMES = {
    "pipes": "a|b|7|COMPLETED|",
    "newline": "first\nsecond\n",
    "quotes": "'; DROP TABLE job; -- \"\\",
    "escapes": "\x1b[31mred\x1b[0m\t\x07",
    "broken": "caf\udce9 \udcff\udcfe",
    "unicode": "größe 能量 ⚡",
    "long": "x" * 300,
    "formula": '=HYPERLINK("http://x")',
}


def live(cluster: Cluster) -> None:
    """Jobs of every kind, each to its end or as far as it gets."""
    named = [cluster.sbatch("alice", "-J", name) for name in NAMES.values()]
    array = cluster.sbatch("alice", "--array=1-3", script=burn(1))
    het = cluster.sbatch("alice", "-w", "n1", "-n", "1", ":", "-w", "n2", "-n", "2", script=burn(1))
    failed = cluster.sbatch("bob", script="#!/bin/sh\nexit 3\n")
    gpus = cluster.sbatch("bob", "-w", "n3", "--gres=gpu:2")
    cluster.wait_for([*named, array, het, failed, gpus])
    cluster.sbatch("bob", "--hold", "-J", "held")
    cluster.sbatch("bob", "--hold", "--array=1-9%2", "-J", "held array")
    for change in (resized, requeued, cancelled):
        change(cluster)


def resized(cluster: Cluster) -> int:
    """A job on two nodes that gives one back after some seconds, and ends."""
    job = cluster.sbatch("alice", "-N", "2", "-w", "n1,n2", "-J", "resized", script=burn(8))
    running(cluster, job)
    time.sleep(3)
    cluster.run(["scontrol", "update", f"jobid={job}", "nodelist=n1"])
    cluster.wait_for_queue([job])
    return job


def requeued(cluster: Cluster) -> int:
    """A job that is requeued while it runs, and cancelled before it runs again."""
    job = cluster.sbatch("alice", "--requeue", "-w", "n1", "-J", "requeued", script=SLEEP)
    running(cluster, job)
    time.sleep(2)
    cluster.run(["scontrol", "requeue", str(job)])
    time.sleep(2)
    cluster.run(["scancel", str(job)])
    return job


def cancelled(cluster: Cluster) -> int:
    """A job that its user cancels, and one that goes on."""
    job = cluster.sbatch("bob", "-w", "n4", "-J", "cancelled", script=SLEEP)
    running(cluster, job)
    cluster.run_as("bob", ["scancel", str(job)])
    cluster.sbatch("alice", "-w", "n4", "-J", "runs", script=SLEEP)
    time.sleep(8)
    return job


def record(cluster: Cluster, folder: Path) -> None:
    """Keep what sacct says now, with the release that said it."""
    version = cluster.run(["sacct", "--version"]).stdout.split()[-1]
    major, minor = version.split(".")[:2]
    fields = ",".join(fields_of((int(major), int(minor))))
    place = folder / version
    place.mkdir(parents=True, exist_ok=True)
    asked = ["-a", "-X", "-n", "-p", "--noconvert", f"--delimiter={DELIMITER}", "-S", "2000-01-01"]
    for name, options in {"jobs": ["-D"], "newest": []}.items():
        command = [
            "env",
            "TZ=UTC",
            "LC_ALL=C",
            "SLURM_TIME_FORMAT=%s",
            "sacct",
            *asked,
            *options,
            "-o",
            fields,
        ]
        done = subprocess.run([*cluster.entry(), *command], capture_output=True, check=True)
        (place / f"{name}.sacct").write_bytes(done.stdout)
    (place / "configuration.txt").write_text(cluster.run(["sacctmgr", "show", "configuration"]).stdout)


def main() -> None:
    """Record into the folder that the command line names."""
    folder, *tree = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="record-") as place:
        cluster = Elsewhere(tree[0]) if tree else Cluster(Path(place) / "cluster")
        with cluster:
            live(cluster)
            record(cluster, folder)


if __name__ == "__main__":
    main()
