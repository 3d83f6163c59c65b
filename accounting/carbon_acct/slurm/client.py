# SPDX-License-Identifier: MIT
"""What the aggregator asks of Slurm, and Slurm's record of a job, whoever fetches it.

`sacct.py` and `pyslurm_db.py` give the same objects; a contract test holds them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SlurmJob:
    """One run of a job, as Slurm's accounting knows it. Times are epoch seconds, UTC; None: not known."""

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


class SlurmClient(Protocol):
    """Where Slurm's record of the jobs comes from."""

    @property
    def name(self) -> str:
        """For people: the program or library, with its version."""
        ...

    @property
    def every_run(self) -> bool:
        """Whether all runs of a job that was requeued or resized are in its answers, or only the newest."""
        ...

    def jobs(self, since: int, until: int, job_ids: Sequence[int] = ()) -> list[SlurmJob]:
        """Every run (see `every_run`) of every job that was eligible, running or ending in [since, until], oldest submit first.

        `job_ids` bounds the answer to these JobIDs. Raises SlurmError.
        """
        ...


def leader_of(job_id: str, job_id_raw: int) -> int:
    """`12_3` and `12+1` belong to 12; any other job to itself."""
    head = job_id.replace("+", "_").partition("_")[0]
    return int(head) if head.isdigit() else job_id_raw
