# SPDX-License-Identifier: MIT
"""The interface to Slurm's record of the jobs, whoever fetches it.

`sacct.py` and `pyslurm_db.py` return the same objects. A contract test holds them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SlurmJob:
    """One run of a job, as Slurm's accounting knows it. Times are epoch seconds, UTC. None means not known."""

    cluster: str
    job_id_raw: int
    job_id: str
    name: str
    user: str | None
    uid: int | None
    account: str | None
    partition: str | None
    qos: str | None
    state: str
    exit_code: str | None
    restarts: int | None
    sluid: str | None
    submit: int
    eligible: int | None
    start: int | None
    end: int | None
    elapsed_s: int | None
    nnodes: int | None
    ncpus: int | None
    alloc_tres: str | None
    nodelist: str | None
    group: str | None = None
    gid: int | None = None
    timelimit_s: int | None = None
    """None: no limit, or the partition's."""
    req_cpus: int | None = None
    req_nodes: int | None = None
    req_tres: str | None = None
    reason: str | None = None
    comment: str | None = None
    workdir: str | None = None
    derived_exit_code: str | None = None
    suspended_s: int | None = None


class SlurmClient(Protocol):
    """A source of Slurm's record of the jobs."""

    @property
    def name(self) -> str:
        """Return the program or library with its version, for people."""
        ...

    @property
    def every_run(self) -> bool:
        """Return whether the answers hold all runs of a job that was requeued or resized, or only the newest."""
        ...

    def jobs(self, since: int, until: int, job_ids: Sequence[int] = ()) -> list[SlurmJob]:
        """Return every run (see `every_run`) of every job that was eligible, running or ending in [since, until],
        oldest submit first.

        `job_ids` bounds the answer to these JobIDs. Raises SlurmError.
        """
        ...


def leader_of(job_id: str, job_id_raw: int) -> int:
    """Return the JobID of the array or heterogeneous job (`12_3` and `12+1` belong to 12), else the job's own."""
    head = job_id.replace("+", "_").partition("_")[0]
    return int(head) if head.isdigit() else job_id_raw
