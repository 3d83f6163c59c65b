# SPDX-License-Identifier: MIT
"""A stand-in for pyslurm: a package on disk, which the Python that it makes imports, and nobody else.

It has the attributes and the faults that the real one showed: 22.5.3 has no `heterogeneous_id`, raises KeyError for a
uid that passwd does not know, and libslurm ends the process where it finds no slurm.conf.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carbon_acct.slurm.client import SlurmJob
from carbon_acct.slurm.programs import Programs

DB = """\
import json, os, pathlib, sys, time
here = pathlib.Path(__file__).parent
said = json.loads((here / "said.json").read_text())
class JobFilter:
    def __init__(self, start_time, end_time, ids=()):
        (here / "asked.json").write_text(json.dumps([start_time, end_time, list(ids)]))
def get(name):
    def value(self):
        found = self.__dict__["values"][name]
        if isinstance(found, dict):
            raise KeyError(found["uid"])
        return found
    return property(value)
class Job:
    def __init__(self, values):
        self.__dict__["values"] = values
for name in said["attributes"]:
    setattr(Job, name, get(name))
class Jobs(list):
    @staticmethod
    def load(db_filter):
        if said["fatal"]:
            sys.stderr.write("fatal: Could not establish a configuration source\\n")
            os._exit(1)
        time.sleep(said["slow_s"])
        newest = {values["id"]: Job(values) for values in said["records"]}
        if said["listed"]:
            return Jobs(newest.values())
        jobs = Jobs()
        jobs.data = {"demo": newest}
        return jobs
"""


def attributes(found: SlurmJob) -> dict[str, Any]:
    """The attributes of pyslurm.db.Job that this project reads, of a job."""
    array, _, task = found.job_id.partition("_")
    head, _, offset = found.job_id.partition("+")
    state, _, by = found.state.partition(" by ")
    code, signal = (int(part) for part in (found.exit_code or "0:0").split(":"))
    return {
        "id": found.job_id_raw,
        "array_id": int(array) if task else None,
        "array_task_id": int(task) or None if task else None,  # pyslurm's u32_parse: 0 becomes None
        "array_tasks_waiting": None,
        "heterogeneous_id": int(head) if offset else None,
        "heterogeneous_offset": int(offset) or None if offset else None,
        "cluster": found.cluster,
        "name": found.name,
        "account": found.account,
        "user_name": found.user,
        "user_id": found.uid,
        "partition": found.partition,
        "qos": found.qos,
        "state": state,
        "cancelled_by": {"": None, "0": "root"}.get(by, by),
        "exit_code": code,
        "exit_code_signal": signal,
        "submit_time": found.submit,
        "eligible_time": found.eligible,
        "start_time": found.start,
        "end_time": found.end,
        "elapsed_time": found.elapsed_s,
        "num_nodes": found.nnodes,
        "cpus": found.ncpus,
        "nodelist": found.nodelist,
    }


class FakePyslurm:
    """The package and a Python that has it."""

    def __init__(self, folder: Path) -> None:
        self._package = folder / "site" / "pyslurm"
        self._package.mkdir(parents=True)
        (self._package / "db.py").write_text(DB)
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nPYTHONPATH={self._package.parent} exec {sys.executable} "$@"\n')
        self.python.chmod(0o755)

    def says(
        self,
        version: str,
        jobs: Sequence[SlurmJob] = (),
        *,
        lacks: Sequence[str] = (),
        broken: str = "",
        listed: bool = False,
        fatal: bool = False,
        slow_s: float = 0,
    ) -> None:
        """Have it be of a release and know these jobs. `lacks` are attributes that the release has not; `broken` is one
        that raises KeyError in the first record.
        """
        (self._package / "__init__.py").write_text(f"__version__ = {version!r}\n")
        records = [attributes(one) for one in jobs]
        names = [name for name in attributes(jobs[0]) if name not in lacks] if jobs else []
        if broken:
            records[0][broken] = {"uid": 70_001}
        said = {"records": records, "attributes": names, "listed": listed, "fatal": fatal, "slow_s": slow_s}
        (self._package / "said.json").write_text(json.dumps(said))

    def programs(self, slurm: Programs, timeout_s: float = 20, most_bytes: int = 1 << 20) -> Programs:
        """Slurm's programs of a stand-in, with this Python."""
        return Programs(slurm.search, timeout_s, most_bytes, str(self.python))
