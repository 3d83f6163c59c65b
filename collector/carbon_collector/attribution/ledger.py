# SPDX-License-Identifier: MIT
"""A ledger: one run of a job on this node, from its prolog to its epilog."""

from __future__ import annotations

from ..cgroups import Usage
from ..lean.named import TYPE_CHECKING
from ..meters.base import WHOLE, Part
from ..ticket import Job
from ..units import US_PER_S

if TYPE_CHECKING:
    from typing import Any


PROLOG = "prolog"
EPILOG = "epilog"
CGROUP = "cgroup"


class Ledger:
    """What is known of the job, when it was here, and what its cgroup last showed.

    `opened_us`, `closed_us` are wall-clock microseconds; `open_mono_us`, `close_mono_us` the same instants on the
    monotonic clock, by which everything is reckoned. `last` is what its cgroup showed at the last reading, `None`
    if it was not there; `cpuset` the CPUs that its cgroup confines it to and `memory` the bytes, as far as known.
    `gpus` are the UUIDs of its devices, `parts` what it holds of each domain in thousandths. `settled`: it has
    ended, and its last interval is in the rows. `totals` is microjoules so far by component.
    """

    __slots__ = (
        "close_mono_us",
        "closed_us",
        "cpuset",
        "dirty",
        "gpus",
        "job",
        "last",
        "memory",
        "open_mono_us",
        "opened_us",
        "parts",
        "settled",
        "source",
        "totals",
    )

    def __init__(self, job: Job, source: str, opened_us: int, open_mono_us: int) -> None:
        self.job = job
        self.source = source
        self.opened_us = opened_us
        self.open_mono_us = open_mono_us
        self.gpus = job.gpus
        self.parts = dict.fromkeys(job.gpus, WHOLE)
        self.memory: int | None = None
        self.closed_us: int | None = None
        self.close_mono_us: int | None = None
        self.last: Usage | None = None
        self.cpuset: tuple[int, ...] = ()
        self.settled = False
        self.totals: dict[str, int] = {}
        self.dirty = True

    @property
    def key(self) -> tuple[int, str]:
        """(JobID, run): what a ledger is known by on this node."""
        return self.job.job_id, self.job.run

    @property
    def cgroup_names(self) -> tuple[str, str]:
        """Names that the job's cgroup may have."""
        return str(self.job.job_id), self.job.sluid

    def close(self, wall_us: int, mono_us: int) -> None:
        """Seal the ledger; the first end counts."""
        if self.closed_us is None:
            self.closed_us = max(wall_us, self.opened_us)
            self.close_mono_us = max(mono_us, self.open_mono_us)
            self.dirty = True

    def learn(self, job: Job) -> None:
        """Take in what a ticket says of a job that was found by its cgroup; its run keeps the name it has."""
        self.job = job._replace(run=self.job.run)
        self.dirty = True

    def hold(self, devices: dict[str, Part]) -> None:
        """Find what the job holds among the devices that are there now, by the names its ticket has for them.

        A device that is not there stays under the ticket's name, so that it is missed.
        """
        found = [devices.get(gpu) or Part(gpu, WHOLE, gpu) for gpu in self.job.gpus]
        gpus = tuple(part.uuid for part in found)
        self.dirty |= gpus != self.gpus
        self.gpus, self.parts = gpus, {}
        for part in found:
            share = part.share * (self.job.gpu_percent or 100) // 100
            self.parts[part.domain] = min(WHOLE, self.parts.get(part.domain, 0) + share)

    def record(self, revision: int, node_cpus: int) -> dict[str, Any]:
        """As docs/record-format.md says."""
        job = self.job
        return {
            "type": "ledger",
            "revision": revision,
            "job_id": job.job_id,
            "run": job.run,
            "opened": self.opened_us // US_PER_S,
            "closed": None if self.closed_us is None else self.closed_us // US_PER_S,
            "uid": job.uid,
            "user": job.user,
            "account": job.account,
            "partition": job.partition,
            "restart_count": job.restart_count,
            "het_job_id": job.het_job_id,
            "cpus": job.cpus,
            "node_cpus": node_cpus,
            "gpus": list(self.gpus),
            "source": self.source,
        }

    def save(self) -> list[Any]:
        """For the state on disk."""
        times = [self.opened_us, self.open_mono_us, self.closed_us, self.close_mono_us]
        flags = [self.dirty, self.settled]
        where = [list(self.gpus), list(self.cpuset), self.parts, self.memory]
        return [list(self.job), self.source, times, where, _save_usage(self.last), self.totals, flags]

    @classmethod
    def load(cls, saved: list[Any]) -> Ledger:
        """From the state on disk."""
        job, source, times, (gpus, cpuset, parts, memory), last, totals, flags = saved
        job[Job._fields.index("gpus")] = tuple(job[Job._fields.index("gpus")])
        ledger = cls(Job(*job), source, times[0], times[1])
        ledger.gpus, ledger.parts, ledger.memory = tuple(gpus), parts, memory
        ledger.closed_us, ledger.close_mono_us = times[2:]
        ledger.last = load_usage(last)
        ledger.cpuset = tuple(cpuset)
        ledger.totals = totals
        ledger.dirty, ledger.settled = flags
        return ledger


def _save_usage(usage: Usage | None) -> list[Any] | None:
    return None if usage is None else [usage.cpu_us, usage.by_socket, usage.memory]


def load_usage(saved: list[Any] | None) -> Usage | None:
    """JSON has no integer keys; sockets become integers again."""
    return None if saved is None else Usage(saved[0], {int(s): us for s, us in saved[1].items()}, saved[2])
