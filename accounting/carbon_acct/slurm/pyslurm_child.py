# SPDX-License-Identifier: MIT
"""Asks slurmdbd by pyslurm, in a process of its own, and prints what it says: a line of JSON for each record.

It is a process because libslurm ends the program that it is in where it finds no slurm.conf, and holds the interpreter
while slurmdbd thinks. It imports nothing of this project, so any Python that has pyslurm can run it by its path.

The first line says the release, and which attributes it has not. Of a record an attribute that cannot be read is null
and named in `faults`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

ATTRIBUTES = (
    *("cluster", "id", "name", "user_name", "user_id", "account", "partition", "qos", "state", "cancelled_by"),
    *("exit_code", "exit_code_signal", "submit_time", "eligible_time", "start_time", "end_time", "elapsed_time"),
    *("num_nodes", "cpus", "nodelist", "array_id", "array_task_id", "array_tasks_waiting"),
    *("heterogeneous_id", "heterogeneous_offset"),
)


def release() -> str:
    """Return the version of the installed pyslurm, whose first two numbers are its Slurm's release."""
    import pyslurm  # noqa: PLC0415  only this process may

    return str(pyslurm.__version__)


def records(since: int, until: int, job_ids: list[int]) -> Any:
    """Return the records of the jobs. `Jobs` was a list at first, and is a map of maps by cluster and JobID."""
    import pyslurm.db  # noqa: PLC0415

    asked: dict[str, Any] = {"start_time": since, "end_time": until}
    if job_ids:
        asked["ids"] = job_ids
    found = pyslurm.db.Jobs.load(pyslurm.db.JobFilter(**asked))
    data = getattr(found, "data", None)
    return list(found) if data is None else [job for jobs in data.values() for job in jobs.values()]


def read(record: Any, lacks: set[str]) -> dict[str, Any]:
    """Return the attributes of a record, and `faults`: what could not be read of it."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name in ATTRIBUTES:
        values[name] = None
        if name not in lacks:
            try:
                value = getattr(record, name)
                values[name] = value if value is None or isinstance(value, int | str) else str(value)
            except Exception as err:  # noqa: BLE001  whatever a foreign library thinks of, it costs this attribute
                faults[name] = f"{type(err).__name__}: {err}"
    return {**values, "faults": faults}


def main() -> int:
    """Print the release (`release`), or the records of SINCE UNTIL [JOBID ...]."""
    if sys.argv[1:] == ["release"]:
        print(json.dumps({"release": release()}))
        return 0
    since, until, *job_ids = map(int, sys.argv[1:])
    found = records(since, until, job_ids)
    lacks = {name for name in ATTRIBUTES for record in found[:1] if not hasattr(type(record), name)}
    print(json.dumps({"release": release(), "lacks": sorted(lacks)}))
    for record in found:
        print(json.dumps(read(record, lacks)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
