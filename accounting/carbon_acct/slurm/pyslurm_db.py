# SPDX-License-Identifier: MIT
"""Reads Slurm's record of the jobs by pyslurm's `pyslurm.db`. No other module imports pyslurm.

pyslurm is bound to one Slurm release and comes from the site. Its `JobFilter` asks slurmdbd for the newest record of
each JobID only: it sets JOBCOND_FLAG_NO_TRUNC and not JOBCOND_FLAG_DUP, and has no option for that
(pyslurm/db/job.pyx). Releases whose `Jobs` is a map also keep only one record for each JobID. ADR 6 says what follows.
"""

from __future__ import annotations

import importlib
import pwd
import re
from collections.abc import Sequence
from typing import Any

from carbon_acct.errors import SlurmError
from carbon_acct.slurm.client import SlurmJob


def pyslurm_release() -> tuple[int, int] | None:
    """Return the Slurm release that the installed pyslurm was built for, e.g. (22, 5), or None where there is none."""
    try:
        module = importlib.import_module("pyslurm")
        importlib.import_module("pyslurm.db")
    except (ImportError, OSError):  # OSError: its libslurm is not there
        return None
    found = re.match(r"(\d+)\.(\d+)", str(getattr(module, "__version__", "")))
    return (int(found[1]), int(found[2])) if found else None


class PyslurmClient:
    """A SlurmClient by pyslurm."""

    every_run = False

    def __init__(self) -> None:
        self._db: Any = importlib.import_module("pyslurm.db")
        release = pyslurm_release()
        self.name = f"pyslurm {release[0]}.{release[1]}" if release else "pyslurm"

    def jobs(self, since: int, until: int, job_ids: Sequence[int] = ()) -> list[SlurmJob]:
        """Return the jobs as SlurmClient says. Raises SlurmError."""
        asked: dict[str, Any] = {"start_time": since, "end_time": until}
        if job_ids:
            asked["ids"] = list(job_ids)
        try:
            found = self._db.Jobs.load(self._db.JobFilter(**asked))
            records = _records(found)
        except Exception as err:
            raise SlurmError(f"pyslurm: {' '.join(str(err).split())}") from err
        jobs = [_job(record) for record in records if record.submit_time]
        return sorted(jobs, key=lambda j: (j.submit, j.job_id_raw))


def _records(found: Any) -> list[Any]:
    """Return the records. `Jobs` was a list at first, and is now a map of maps by cluster and JobID."""
    data = getattr(found, "data", None)
    return list(found) if data is None else [job for jobs in data.values() for job in jobs.values()]


def _job(record: Any) -> SlurmJob:
    start, end = record.start_time or None, record.end_time or None
    return SlurmJob(
        cluster=record.cluster,
        job_id_raw=record.id,
        job_id=_job_id(record),
        name=record.name or "",
        user=record.user_name or None,
        uid=record.user_id,
        account=record.account or None,
        partition=record.partition or None,
        qos=record.qos or None,
        state=_state(record),
        exit_code=f"{record.exit_code or 0}:{record.exit_code_signal or 0}",
        restarts=None,
        sluid=None,
        submit=record.submit_time,
        eligible=record.eligible_time or None,
        start=start,
        end=end,
        elapsed_s=record.elapsed_time or 0,
        nnodes=record.num_nodes,
        ncpus=record.cpus,
        alloc_tres=None,
        nodelist=record.nodelist or None,
        **_besides(record),
    )


def _besides(record: Any) -> dict[str, Any]:
    """Return what not every release of pyslurm has."""
    minutes, seconds = getattr(record, "time_limit", None), getattr(record, "suspended_time", None)
    return {
        "group": getattr(record, "group_name", None) or None,
        "gid": getattr(record, "group_id", None),
        "timelimit_s": 60 * minutes if isinstance(minutes, int) else None,
        "comment": getattr(record, "comment", None) or None,
        "workdir": getattr(record, "working_directory", None) or None,
        "suspended_s": seconds if isinstance(seconds, int) else None,
    }


def _job_id(record: Any) -> str:
    """Return the JobID as sacct prints it: `12_3` for a task of an array, `12+1` for a component of a heterogeneous
    job.
    """
    if record.array_id and not record.array_tasks_waiting:
        return f"{record.array_id}_{record.array_task_id or 0}"  # pyslurm gives None for 0
    if record.heterogeneous_id:
        return f"{record.heterogeneous_id}+{record.heterogeneous_offset or 0}"
    return str(record.id)


def _state(record: Any) -> str:
    """Return the state as sacct prints it: `CANCELLED by 1000`. pyslurm has the user's name where sacct has the id."""
    if record.state != "CANCELLED" or not record.cancelled_by:
        return str(record.state)
    try:
        return f"CANCELLED by {pwd.getpwnam(record.cancelled_by).pw_uid}"
    except KeyError:
        return f"CANCELLED by {record.cancelled_by}"
