# SPDX-License-Identifier: MIT
"""Moves the collector out of a job's cgroup.

With `PrologFlags=RunInJob` Slurm runs the prolog inside the job. A collector that such a prolog starts would be billed
to that job, and would end with it. So it moves to the root of each hierarchy, where no job is.
"""

from __future__ import annotations

import os

from .host import read_text
from .ticket import is_sluid

OWN = "carbon-collector"
"""Name of the cgroup that is made where the root takes no processes (a container's root, cgroup v2)."""


def leave_job() -> str:
    """Leave the job's cgroups, if this process is in any; return what it could not leave, or nothing."""
    left: list[str] = []
    for controllers, path in _own_paths():
        if is_jobs(path) and not _leave(controllers):
            left.append(path)
    return left[0] if left else ""


def is_jobs(path: str) -> bool:
    """Return whether a cgroup is a job's, or below one: `job_<JobID>`, `<SLUID>`, anything below slurmstepd's scope."""
    parts = path.split("/")
    if any(is_sluid(part) or (part.startswith("job_") and part[4:].isdigit()) for part in parts):
        return True
    return any(part.endswith("slurmstepd.scope") for part in parts)


def _own_paths() -> list[tuple[str, str]]:
    """Return (controllers, path) of each hierarchy, as cgroups(7) has it in /proc/self/cgroup; version 2 has no
    controllers.
    """
    lines = [line.split(":", 2) for line in read_text("/proc/self/cgroup").splitlines()]
    return [(line[1], line[2]) for line in lines if len(line) == 3]


def _leave(controllers: str) -> bool:
    root = _mount(controllers)
    if not root:
        return False
    if _enter(root):
        return True
    try:
        os.makedirs(f"{root}/{OWN}", mode=0o755, exist_ok=True)
    except OSError:
        return False
    return _enter(f"{root}/{OWN}")


def _enter(folder: str) -> bool:
    try:
        with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except OSError:
        return False
    return True


def _mount(controllers: str) -> str:
    """Return where a hierarchy is mounted: `cpu,cpuacct`, `name=systemd`, or version 2 (no controllers)."""
    for line in read_text("/proc/self/mounts").splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        if not controllers and fields[2] == "cgroup2":
            return fields[1]
        if controllers and fields[2] == "cgroup" and set(controllers.split(",")) <= set(fields[3].split(",")):
            return fields[1]
    return ""
