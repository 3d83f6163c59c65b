# SPDX-License-Identifier: MIT
"""Defines a ledger: one run of a job on this node, from its prolog to its epilog. No I/O."""

from __future__ import annotations

from ..job import Job
from ..lean.typing import TYPE_CHECKING
from ..meters.base import WHOLE, Part
from ..units import US_PER_S
from ..usage import Usage, load_usage, save_usage
from .rows import JobRow

if TYPE_CHECKING:
    from typing import Any


PROLOG = "prolog"
EPILOG = "epilog"
CGROUP = "cgroup"
"""Sources of a ledger."""


class Ledger:
    """The facts of a run, when it was here, and what its cgroup showed at the last reading.

    `opened_us`, `closed_us` are wall-clock microseconds; `open_mono_us`, `close_mono_us` are the same instants on the
    monotonic clock, by which everything is reckoned. `last` is what its cgroup showed when it was last seen, `None` if it
    never was; `here`: whether it was there at the last reading. `cpuset` holds the CPUs and `memory` the bytes that its cgroup is limited to, as far as known.
    `gpus` are the UUIDs of its devices, `parts` the thousandths that it holds of each domain. `settled`: it has ended,
    and its last interval is in the rows. `past` is the sum of its rows that were sealed and forgotten. `source` says whether a prolog,
    only an epilog or only a cgroup told of the run; `dirty` marks what has changed since it was last sealed.
    """

    __slots__ = (
        "close_mono_us",
        "closed_us",
        "cpuset",
        "dirty",
        "gpus",
        "here",
        "job",
        "last",
        "memory",
        "open_mono_us",
        "opened_us",
        "parts",
        "past",
        "settled",
        "source",
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
        self.here = False
        self.cpuset: tuple[int, ...] = ()
        self.settled = False
        self.past: JobRow | None = None
        self.dirty = True

    @property
    def key(self) -> tuple[int, str]:
        """Return the key of the ledger on this node: (JobID, run)."""
        return self.job.job_id, self.job.run

    @property
    def cgroup_names(self) -> tuple[str, str]:
        """Return the names that the job's cgroup may have."""
        return str(self.job.job_id), self.job.sluid

    def close(self, wall_us: int, mono_us: int) -> None:
        """End the run; the first end counts."""
        if self.closed_us is None:
            self.closed_us = max(wall_us, self.opened_us)
            self.close_mono_us = max(mono_us, self.open_mono_us)
            self.dirty = True

    def learn(self, job: Job) -> None:
        """Take in what a ticket says of a job that was found by its cgroup; the run keeps its name."""
        self.job = job._replace(run=self.job.run)
        self.dirty = True

    def seen(self, usage: Usage | None) -> None:
        """Take in what the job's cgroup shows at a reading; `None` if it is not there."""
        self.here = usage is not None
        self.last = usage or self.last

    def confine(self, cpuset: tuple[int, ...], memory: int | None) -> None:
        """Take in the CPUs and the bytes of memory that the job's cgroup is limited to."""
        self.cpuset, self.memory = cpuset, memory

    def keep(self, row: JobRow) -> None:
        """Take in a row that is forgotten, so that the sum over the run stays known."""
        if self.past is None:
            self.past = JobRow(self.job.job_id, self.job.run, 0, 0)
        self.past.merge(row)

    def hold(self, devices: dict[str, Part], shards: int = 0) -> None:
        """Find what the job holds among the present devices, by the names that its ticket has for them.

        A device that is absent keeps the ticket's name, so that the job's rows show it as missing. `shards`: how many
        shards a device has, 0 where that is not known.
        """
        found = [devices.get(gpu) or Part(gpu, WHOLE, gpu) for gpu in self.job.gpus]
        gpus = tuple(part.uuid for part in found)
        self.dirty |= gpus != self.gpus
        self.gpus, self.parts = gpus, {}
        for part in found:
            share = part.share * (self.job.gpu_percent or 100) // 100
            if shards and self.job.shards:
                share = min(share, max(1, WHOLE * self.job.shards // (shards * len(found))))
            self.parts[part.domain] = min(WHOLE, self.parts.get(part.domain, 0) + share)

    def record(self, revision: int, node_cpus: int) -> dict[str, Any]:
        """Return the ledger as docs/record-format.md describes it."""
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
        """Return the ledger as the state on disk holds it."""
        times = [self.opened_us, self.open_mono_us, self.closed_us, self.close_mono_us]
        flags = [self.dirty, self.settled, self.here]
        past = None if self.past is None else self.past.save()
        where = [list(self.gpus), list(self.cpuset), self.parts, self.memory]
        return [list(self.job), self.source, times, where, save_usage(self.last), past, flags]

    @classmethod
    def load(cls, saved: list[Any]) -> Ledger:
        """Return the ledger that `save` saved."""
        job, source, times, (gpus, cpuset, parts, memory), last, past, flags = saved
        job[Job._fields.index("gpus")] = tuple(job[Job._fields.index("gpus")])
        ledger = cls(Job(*job), source, times[0], times[1])
        ledger.gpus, ledger.parts, ledger.memory = tuple(gpus), parts, memory
        ledger.closed_us, ledger.close_mono_us = times[2:]
        ledger.last = load_usage(last)
        ledger.cpuset = tuple(cpuset)
        ledger.past = None if past is None else JobRow.load(past)
        ledger.dirty, ledger.settled, ledger.here = flags
        return ledger
