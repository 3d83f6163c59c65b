# SPDX-License-Identifier: MIT
"""The jobs over which carbon-acct and `sacct -X` are compared: every kind that a user's day has, at rest while they are."""

from __future__ import annotations

import time
from typing import NamedTuple

from .cluster import Cluster, ClusterError
from .jobs import burn, running

SLEEP = "#!/bin/sh\nsleep {}\n"
WIDE_NAME = "an-experiment-with-a-name-of-more-than-forty-characters"
HOSTILE_NAME = "=a|b\\c\x1b[31m\u202e\u6f22\u5b57'\""
WINDOW_S = 8
"""The seconds from `start` to the end of the windows that cut jobs."""
HOLDS = "600"
"""The seconds that jobs stay which are compared while they run."""


class Scene(NamedTuple):
    """Jobs by what they are; `start` is a time before the first of them, `ended` the second in which "plain" ended."""

    start: int
    ended: int
    jobs: dict[str, int]


def set_scene(cluster: Cluster) -> Scene:
    """Submit the jobs, wait until each is in the state for which it is there, and until slurmdbd knows."""
    start = int(time.time())
    sbatch = cluster.sbatch
    jobs = {
        "array": sbatch("alice", "-J", "array", "--array=1-4", "-t", "2", script=SLEEP.format(1)),
        "plain": sbatch("alice", "-J", "plain", "-n", "2", "--mem=4G", "-t", "1:00:00", script=burn(2)),
        "optics": sbatch(
            "alice", "-J", "optics", "-A", "optics", "-N", "2", "-w", "n2,n3", "-t", "1-0", script=SLEEP.format(1)
        ),
        "gpu": sbatch("bob", "-J", "gpu", "-w", "n4", "--gres=gpu:2", "--mem=1536M", script=SLEEP.format(1)),
        "het": sbatch("bob", "-J", "het", "-n", "1", ":", "-n", "2", script=SLEEP.format(1)),
        "fails": sbatch("carol", "-J", "fails", "-w", "n1", script="#!/bin/sh\nexit 3\n"),
        "wide": sbatch("carol", "-J", WIDE_NAME, script=SLEEP.format(1)),
        "hostile": sbatch("bob", "-J", HOSTILE_NAME, "--comment", "a|b", script=SLEEP.format(1)),
    }
    cluster.wait_for(jobs.values())
    time.sleep(max(0.0, start + WINDOW_S + 1 - time.time()))  # sacct cuts suspended time as well, carbon-acct does not
    held = {
        "never started": sbatch("alice", "-J", "never", "--begin=now+1hour"),
        "pending": sbatch("bob", "-J", "pending", "--begin=now+1hour", "-n", "3", "-t", "10"),
        "on hold": sbatch("alice", "-J", "on-hold", "--hold"),
        "running": sbatch("alice", "-J", "running", "-w", "n1", "-n", "2", script=SLEEP.format(HOLDS)),
        "suspended": sbatch("bob", "-J", "suspended", "-w", "n2", "-n", "1", script=SLEEP.format(HOLDS)),
        "waits again": sbatch("carol", "-J", "again", "--requeue", "-w", "n3", script=SLEEP.format(HOLDS)),
        "cancelled": sbatch("alice", "-J", "cancelled", "-w", "n3", script=SLEEP.format(HOLDS)),
        "half an array": sbatch("alice", "-J", "half", "--array=1-9%2", "-w", "n4", script=SLEEP.format(HOLDS)),
    }
    for name in ("running", "suspended", "waits again", "cancelled"):
        running(cluster, held[name])
    time.sleep(1.1)  # a run of no length would be no run
    cluster.run_as("alice", ["scancel", str(held["never started"]), str(held["cancelled"])])
    cluster.run(["scontrol", "suspend", str(held["suspended"])])
    cluster.run(["scontrol", "requeuehold", str(held["waits again"])])
    scene = Scene(start, _end_of(cluster, jobs["plain"]), jobs | held)
    _until_told(cluster, scene)
    return scene


def clear(cluster: Cluster, scene: Scene) -> None:
    """End all jobs and wait until the nodes are idle. What is suspended is frozen, and would outlive its cluster."""
    cluster.run(["scontrol", "resume", str(scene.jobs["suspended"])], check=False)
    cluster.run(["scancel", *map(str, scene.jobs.values())], check=False)
    cluster.until_idle()


def _end_of(cluster: Cluster, job: int) -> int:
    """The second in which a job ended, by Slurm."""
    asked = ["env", "SLURM_TIME_FORMAT=%s", "sacct", "-X", "-n", "-P", "-o", "End", "-j", str(job)]
    return int(cluster.run(asked).stdout)


def _until_told(cluster: Cluster, scene: Scene) -> None:
    wanted = {
        "running": "RUNNING",
        "suspended": "SUSPENDED",
        "waits again": "PENDING",
        "never started": "CANCELLED by 70001",
        "cancelled": "CANCELLED by 70001",
    }
    query = ["sacct", "-X", "-n", "-P", "-S", "2020-01-01", "-o", "JobID,State", "-j"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = cluster.run([*query, ",".join(str(scene.jobs[name]) for name in wanted)]).stdout.splitlines()
        states = {line.partition("|")[0]: line.partition("|")[2] for line in lines}
        if all(states.get(str(scene.jobs[name])) == state for name, state in wanted.items()):
            return
        time.sleep(0.3)
    raise ClusterError(f"the jobs are not as they should be: {states}")
