# SPDX-License-Identifier: MIT
"""Reads the CPU time of a job at the moment when one of its tasks ends.

When a job's last task has ended, slurmstepd removes the job's cgroup within milliseconds, and what the job used since the
last reading is then known only together with that of other jobs which ended in the same interval. A thread therefore
waits for the ends of the tasks (pidfd_open(2), Linux 5.3), reads the job's cgroup and keeps the figure for the next
reading. It watches the processes that slurmstepd itself has started, and nothing else. No signal is sent to any process.

On a busy node an ordinary thread wakes tens of milliseconds after the end, when the cgroup is gone. The thread therefore
has the lowest real-time priority, where root may give it (sched_setscheduler(2)): it works for some hundred microseconds
a task that ends. It also looks at the other jobs then, since they may end next: tasks of an array do.
"""

from __future__ import annotations

import os
import time
from _thread import start_new_thread

from .host import read_text
from .lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    import select

    from .cgroups import Cgroups, Found
    from .usage import Usage

MOST = 512
"""Most tasks that are watched: each takes a file descriptor."""
MOST_PIDS = 64
"""Most processes of a cgroup that are looked at for one that slurmstepd started."""
STEPD = "slurmstepd"
PRIORITY = 1
"""Real-time priority of the thread, the lowest one: above all ordinary processes, below everything else."""
LOOK_S = 0.02
"""Least time between two looks at all jobs: many that end together are not read once for each of them."""


class Watch:
    """Watches the tasks of the jobs on this node.

    `ended`: by name of a job, the CPU time that its cgroup showed when a task ended, of this job or of another.
    """

    def __init__(self, cgroups: Cgroups, procfs: str) -> None:
        self.ended: dict[str, Usage] = {}
        self._cgroups = cgroups
        self._procfs = procfs
        self._tasks: dict[int, tuple[int, Found]] = {}
        self._of_job: dict[str, int] = {}
        self._jobs: dict[str, Found] = {}
        self._looked_s = 0.0
        self._epoll: select.epoll | None = None

    def follow(self, jobs: dict[str, Found], young: set[str], is_due: bool) -> dict[str, Usage]:
        """Watch the tasks of these jobs, and return what the jobs that are gone since the last call showed last.

        Tasks are looked for in young jobs and, if that `is_due`, in those without a watched one: a step may have begun.
        """
        gone = {name: self.ended.pop(name) for name in list(self.ended) if name not in jobs}
        for name in [name for name in self._of_job if name not in jobs]:
            del self._of_job[name]
        self._jobs = jobs
        for name, job in jobs.items():
            if (name in young or (is_due and not self._of_job.get(name))) and len(self._tasks) < MOST:
                self._add(name, job)
        return gone

    def _add(self, name: str, job: Found) -> None:
        before = {pid for pid, one in list(self._tasks.values()) if one.path == job.path}
        for pid in self._leaders(job.path):
            if pid not in before and self._watch(pid, job):
                self._of_job[name] = self._of_job.get(name, 0) + 1

    def _leaders(self, path: str, depth: int = 4) -> list[int]:
        """Return the processes in a cgroup and below it that slurmstepd has started."""
        found = [pid for pid in map(int, read_text(f"{path}/cgroup.procs").split()[:MOST_PIDS]) if self._is_task(pid)]
        for name in self._cgroups.children(path) if depth else ():
            found += self._leaders(f"{path}/{name}", depth - 1)
        return found

    def _is_task(self, pid: int) -> bool:
        fields = read_text(f"{self._procfs}/{pid}/stat").rpartition(")")[2].split()
        return len(fields) > 1 and read_text(f"{self._procfs}/{fields[1]}/comm") == STEPD

    def _watch(self, pid: int, job: Found) -> bool:
        try:
            fd = os.pidfd_open(pid)
        except (OSError, AttributeError):
            return False  # it has ended, or the kernel or this Python cannot
        if self._epoll is None:
            import select  # only where there are jobs

            self._epoll = select.epoll()
            start_new_thread(self._run, (self._epoll,))
        self._tasks[fd] = (pid, job)
        self._epoll.register(fd, 1)  # EPOLLIN: the process has ended
        return True

    def _run(self, epoll: select.epoll) -> None:
        _hurry()
        while True:
            for fd, _ in epoll.poll():
                self._see_end(fd)
            self._look_at_all()

    def _see_end(self, fd: int) -> None:
        """Read the job of a task that has ended."""
        _, job = self._tasks.pop(fd)
        self._look(job)
        os.close(fd)  # which takes it out of the epoll
        if job.name in self._of_job:
            self._of_job[job.name] -= 1

    def _look_at_all(self) -> None:
        """Read all jobs, unless that was done a moment ago: one of them may be gone before the end of its task is seen."""
        if time.monotonic() < self._looked_s + LOOK_S:
            return
        for job in list(self._jobs.values()):
            self._look(job)
        self._looked_s = time.monotonic()

    def _look(self, job: Found) -> None:
        used = self._cgroups.cpu_usage(job)  # of its memory the last reading tells more: a task that ends frees it
        if used is not None:
            self.ended[job.name] = used


def _hurry() -> None:
    """Give this thread a real-time priority. Where that is not allowed it stays as it is."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except (AttributeError, OSError):
        pass  # what is then seen too late is shared by a rule, and said to be
