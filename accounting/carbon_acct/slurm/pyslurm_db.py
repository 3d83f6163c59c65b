# SPDX-License-Identifier: MIT
"""Reads Slurm's record of the jobs by pyslurm, which a process of its own imports (`pyslurm_child`); no other does.

pyslurm is bound to one Slurm release and comes from the site. Its `JobFilter` asks slurmdbd for the newest record of
each JobID only: it sets JOBCOND_FLAG_NO_TRUNC and not JOBCOND_FLAG_DUP, and has no option for that
(pyslurm/db/job.pyx). Releases whose `Jobs` is a map also keep only one record for each JobID. None tells AllocTRES in
Slurm's own text, and before 25.11 none tells a heterogeneous job's components from other jobs. ADR 6 says what follows.
"""

from __future__ import annotations

import json
import logging
import pwd
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from carbon_acct.errors import SlurmError
from carbon_acct.slurm.client import SlurmJob
from carbon_acct.slurm.programs import Programs

log = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("pyslurm_child.py")
NEEDED = ("cluster", "id", "submit_time", "state")
"""What a record must have to be a job's."""


def pyslurm_release(programs: Programs) -> tuple[int, int] | None:
    """Return the Slurm release that the installed pyslurm was built for, e.g. (22, 5), or None where there is none."""
    try:
        said = json.loads(programs.run_python("pyslurm", str(CHILD), "release"))
    except (SlurmError, ValueError):
        return None
    found = re.match(r"(\d+)\.(\d+)", str(said.get("release", "")))
    return (int(found[1]), int(found[2])) if found else None


class PyslurmClient:
    """A SlurmClient by pyslurm."""

    every_run = False

    def __init__(self, programs: Programs, release: tuple[int, int] | None = None) -> None:
        self._programs = programs
        self._told: set[str] = set()
        self.name = f"pyslurm {release[0]}.{release[1]}" if release else "pyslurm"

    def jobs(self, since: int, until: int, job_ids: Sequence[int] = ()) -> list[SlurmJob]:
        """Return the jobs as SlurmClient says. Raises SlurmError."""
        asked = [str(number) for number in (since, until, *job_ids)]
        _, *lines = self._programs.run_python("pyslurm", str(CHILD), *asked).splitlines() or [""]
        try:
            records = [json.loads(line) for line in lines]
        except ValueError as err:
            raise SlurmError("pyslurm: the answer is no JSON; is pyslurm's own output among it?") from err
        jobs = []
        for record in records:
            self._tell(record)
            if all(record[name] for name in NEEDED):
                jobs.append(_job(record))
        return sorted(jobs, key=lambda j: (j.submit, j.job_id_raw))

    def _tell(self, record: Mapping[str, Any]) -> None:
        """Log what cannot be read of a record, each kind once."""
        for name, why in record["faults"].items():
            if name not in self._told:
                self._told.add(name)
                log.warning(
                    "pyslurm: job %s: %s is unknown: %s; more of this kind are not told", record["id"], name, why
                )


def _job(record: Mapping[str, Any]) -> SlurmJob:
    return SlurmJob(
        cluster=record["cluster"],
        job_id_raw=record["id"],
        job_id=_job_id(record),
        name=record["name"] or "",
        user=record["user_name"] or None,
        uid=record["user_id"],
        account=record["account"] or None,
        partition=record["partition"] or None,
        qos=record["qos"] or None,
        state=_state(record),
        exit_code=f"{record['exit_code'] or 0}:{record['exit_code_signal'] or 0}",
        restarts=None,
        sluid=None,
        submit=record["submit_time"],
        eligible=record["eligible_time"] or None,
        start=record["start_time"] or None,
        end=record["end_time"] or None,
        elapsed_s=record["elapsed_time"] or 0,
        nnodes=record["num_nodes"],
        ncpus=record["cpus"],
        alloc_tres=None,
        nodelist=record["nodelist"] or None,
    )


def _job_id(record: Mapping[str, Any]) -> str:
    """Return the JobID as sacct prints it: `12_3` for a task of an array, `12+1` for a component of a heterogeneous
    job. Where the release does not tell the component, it is the job's own number.
    """
    if record["array_id"] and not record["array_tasks_waiting"]:
        return f"{record['array_id']}_{record['array_task_id'] or 0}"  # pyslurm gives None for 0
    if record["heterogeneous_id"]:
        return f"{record['heterogeneous_id']}+{record['heterogeneous_offset'] or 0}"
    return str(record["id"])


def _state(record: Mapping[str, Any]) -> str:
    """Return the state as sacct prints it: `CANCELLED by 1000`. pyslurm has the user's name where sacct has the id."""
    by = record["cancelled_by"]
    if record["state"] != "CANCELLED" or not by:
        return str(record["state"])
    try:
        return f"CANCELLED by {pwd.getpwnam(by).pw_uid}"
    except KeyError:
        return f"CANCELLED by {by}"
