# SPDX-License-Identifier: MIT
"""Batch scripts that the demo and the tests submit."""

from __future__ import annotations

import time

from .cluster import Cluster
from .layout import NODES

BURN = """#!/bin/bash
{launch} bash -c '{pin}end=$((SECONDS + {seconds})); while [ $SECONDS -lt $end ]; do :; done'
"""
# Holding a device file's lock is work to a simulated GPU (simulator/gpus.py).
GPUS = """#!/bin/bash
for minor in ${{CUDA_VISIBLE_DEVICES//,/ }}; do
    flock /dev/nvidia$minor sleep {seconds} &
done
wait
"""


def burn(seconds: int, launch: str = "", cpu: int | None = None) -> str:
    """Keep one CPU busy in each process; `cpu` is the CPU of this machine to stay on."""
    pin = "" if cpu is None else f"taskset -p -c {cpu} $$ >/dev/null; "
    return BURN.format(seconds=seconds, launch=launch, pin=pin)


def gpus(seconds: int) -> str:
    """Keep all GPUs of the job busy."""
    return GPUS.format(seconds=seconds)


def on_each_node(cluster: Cluster, user: str, name: str, seconds: int) -> int:
    """Submit an array with a task that sleeps on each node, alone; returns its JobID.

    A collector that has never seen its node at rest does not know what rest costs.
    """
    options = ["-J", name, f"--array=1-{len(NODES)}", "-N", "1", "--exclusive"]
    return cluster.sbatch(user, *options, script=f"#!/bin/sh\nsleep {seconds}\n")


def is_running(cluster: Cluster, job: int) -> bool:
    """Whether a job runs by slurmctld, which knows before slurmdbd does."""
    return cluster.run(["squeue", "-h", "-j", str(job), "-o", "%T"], check=False).stdout.strip() == "RUNNING"


def running(cluster: Cluster, job: int) -> None:
    """Wait until a job runs."""
    deadline = time.monotonic() + 60
    while not is_running(cluster, job):
        assert time.monotonic() < deadline
        time.sleep(0.2)
