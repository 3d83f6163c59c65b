# SPDX-License-Identifier: MIT
"""The collector's own cgroup is no job's: started inside a job (PrologFlags=RunInJob) it leaves."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector import own_cgroup
from carbon_collector.own_cgroup import is_jobs

from .process import HERE

JOBS = [
    "/slurm/uid_1000/job_5/step_extern",
    "/slurm_n1/uid_0/job_123456/step_0/task_0",
    "/system.slice/slurmstepd.scope/job_5/step_extern/user/task_special",
    "/system.slice/n1_slurmstepd.scope/s891M8001ARZ00/step_extern/user",  # Slurm 26.05
    "/hpc.slice/slurmstepd.scope/system",  # CgroupSlice= of 25.11; no job, but Slurm's
    "/kubepods.slice/kubepods-pod1.slice/slurmstepd.scope/job_7/step_extern",
]
OTHERS = ["/", "/init.scope", "/system.slice/slurmd.service", "/system.slice/carbon-collector.service", "/job_x"]


@pytest.mark.parametrize("path", JOBS)
def test_a_jobs_cgroup_is_known(path: str) -> None:
    """Every layout from Slurm 22.05 to 26.05."""
    assert is_jobs(path)


@pytest.mark.parametrize("path", OTHERS)
def test_what_is_no_jobs(path: str) -> None:
    """Slurmd's own service, where a prolog usually runs, is left alone."""
    assert not is_jobs(path)


@given(st.text())
def test_any_path_will_do(path: str) -> None:
    """Whatever a container runtime calls its cgroups."""
    assert is_jobs(path) in (True, False)


@contextlib.contextmanager
def job_cgroups() -> Iterator[list[Path]]:
    """A job's cgroup in each hierarchy of this machine that lets one be made."""
    made = []
    for mount in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = mount.split()
        if kind not in ("cgroup", "cgroup2") or "cpuset" in options:  # a cpuset takes nobody before it has CPUs
            continue
        path = Path(folder, f"test_{os.getpid()}", "job_5", "step_extern")
        with contextlib.suppress(OSError):
            path.mkdir(parents=True)
            made.append(path)
    try:
        yield made
    finally:
        for path in made:
            for one in (path, path.parent, path.parent.parent):
                for _ in range(100):
                    with contextlib.suppress(OSError):
                        one.rmdir()
                        break
                    time.sleep(0.02)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make cgroups")
def test_it_leaves_every_hierarchy() -> None:
    """A process in a job's cgroups, version 1 and 2, ends in none of them."""
    with job_cgroups() as paths:
        if not paths:
            pytest.skip("no cgroup hierarchy can be written here")
        code = (
            f"import os, sys; sys.path[:0] = [{str(HERE)!r}]\n"
            "for path in sys.argv[1:]: open(path + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
            "from carbon_collector import own_cgroup\n"
            "before = open('/proc/self/cgroup').read().count('job_5')\n"
            "print(before, repr(own_cgroup.leave_job()), open('/proc/self/cgroup').read().count('job_5'))\n"
        )
        line = [sys.executable, "-ISc", code, *map(str, paths)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)

    assert done.stdout.split() == [str(len(paths)), "''", "0"]


def test_what_cannot_be_left_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container without a writable cgroup file system: the caller has something to say."""
    monkeypatch.setattr(own_cgroup, "_own_paths", lambda: [("", JOBS[2]), ("cpuacct", "/")])
    monkeypatch.setattr(own_cgroup, "_mount", lambda _: "")

    assert own_cgroup.leave_job() == JOBS[2]
