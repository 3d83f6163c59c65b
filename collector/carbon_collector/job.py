# SPDX-License-Identifier: MIT
"""Defines a job as this node knows it. Pure; `ticket` reads it from the environment that slurmd gave to the prolog."""

from __future__ import annotations

from .lean.typing import NamedTuple


class Job(NamedTuple):
    """The facts of a job on this node; `None` where its environment did not say.

    `cpus`: CPUs that it holds here, as Slurm counts them; `gpus`: UUIDs or Slurm's indexes of its devices;
    `end_time`: epoch seconds, in a prolog's ticket the planned end, in an epilog's the true one (Slurm 23.02+);
    `gpu_percent`: the part of each of its GPUs that MPS grants it, 1 to 100; `exclusive`: it has the node for itself
    (Slurm 23.02+); `shards`: what it holds of its GPUs, in Slurm's shards. New fields come last and have a default,
    because the state of an older collector lacks them.
    """

    job_id: int
    run: str
    uid: int | None
    user: str | None
    account: str | None
    partition: str | None
    restart_count: int | None
    het_job_id: int | None
    cpus: int | None
    gpus: tuple[str, ...]
    sluid: str
    cluster: str
    end_time: int | None = None
    gpu_percent: int | None = None
    exclusive: bool = False
    shards: int | None = None
