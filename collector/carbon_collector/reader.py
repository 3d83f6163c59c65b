# SPDX-License-Identifier: MIT
"""Reads the node: one snapshot of its meters, CPUs and memory, and of the cgroups of its jobs.

What is made of a snapshot is not known here: `attribution` does that. The limits of the jobs are read on the way, and noted
in their ledgers.
"""

from __future__ import annotations

from . import host
from .attribution.snapshot import Snapshot
from .lean.typing import TYPE_CHECKING
from .meters.base import WHOLE
from .watch import Watch

if TYPE_CHECKING:
    from .attribution.books import Books
    from .cgroups import Cgroups, Found
    from .claim import Claim
    from .clock import Clock
    from .meters import Meters

ACCOUNTED_US = 3_000_000
"""Age at which a job has all the cgroups that it will have, with some reserve for a node under load."""
FIRST_LOOKS = 3
"""Readings at which the limits of a job are read, from the first one that shows its cgroup."""
URGENT_US = 30_000_000
"""Age up to which a job without a cgroup is searched for at once."""
YOUNG_US = 6_000_000
"""Age up to which the tasks of a job are looked for at every reading."""
SEARCH_AFTER_US = 2_000_000
"""Age of a job without a cgroup at which one is searched for."""
LIMITS_US = 60_000_000
"""Time between two looks at the limits of all jobs."""


class Reader:
    """Reads one node, whose jobs are those in the books."""

    def __init__(self, books: Books, meters: Meters, cgroups: Cgroups, claim: Claim, procfs: str, boot_id: str) -> None:
        self._books = books
        self._meters = meters
        self._cgroups = cgroups
        self._claim = claim
        self._procfs = procfs
        self._boot_id = boot_id
        self._watch = Watch(cgroups, procfs)
        self._huge_in_memory = host.counts_huge_pages(procfs)
        self._limits_us = 0
        self._looks: dict[tuple[int, str], int] = {}
        self._unaccounted: set[str] = set()
        self._none_accounted = False
        self._job_of: dict[str, str] = {}

    def snapshot(self, clock: Clock) -> Snapshot:
        """Return what the node shows now."""
        memory = host.memory(self._procfs)
        self._cgroups.has_huge_pages = memory.has_huge and not self._huge_in_memory
        # The parent first: what a job is ahead of it, were it there only since then, is taken into account.
        parent = self._cgroups.parent_usage()
        cgroups = self._cgroups.jobs()
        usages = {name: self._cgroups.usage(job) for name, job in cgroups.items()}
        # Before the meters: one that hangs is waited for, and the CPU time of jobs and node must be of one instant.
        busy = host.busy_cpus(self._procfs, self._cgroups.topology)
        is_due = clock.mono_us - self._limits_us > LIMITS_US
        ended = self._watch.follow(cgroups, self._young(clock), is_due)
        self._learn_limits(cgroups, clock, is_due)
        return Snapshot(
            wall_us=clock.wall_us,
            mono_us=clock.mono_us,
            boot_id=self._boot_id,
            readings={} if self._claim.refusal else self._meters.read(self._shared()),
            busy=host.by_socket(busy, self._cgroups.topology),
            memory=memory.used,
            parent=parent,
            jobs={name: usage for name, usage in usages.items() if usage is not None},
            activity=self._activity(),
            memory_total=memory.total,
            huge_unseen=0 if self._huge_in_memory or self._cgroups.shows_huge_pages() else memory.huge,
            busy_cpus=busy,
            ended=ended,
            has_parent=bool(self._cgroups.parents()),
            unaccounted=self._without_accounting(clock, bool(cgroups)),
        )

    def _shared(self) -> frozenset[str]:
        """Return the devices of which a job holds a part, or several jobs the whole: their activity must be read."""
        shares: dict[str, list[int]] = {}
        for ledger in self._books.open_ledgers():
            for name, share in ledger.parts.items():
                shares.setdefault(name, []).append(share)
        return frozenset(name for name, held in shares.items() if held != [WHOLE])

    def _activity(self) -> dict[str, dict[str, int]]:
        """Return what was done on shared devices, by domain and by UUID of the part or name of the job's cgroup.

        The activity of a process belongs to the job whose cgroup it is in, or was in when it was last seen, because a
        process that has ended has no cgroup.
        """
        by_domain: dict[str, dict[str, int]] = {}
        here = {name for ledger in self._books.ledgers.values() for name in ledger.cgroup_names}
        self._job_of = {process: job for process, job in self._job_of.items() if job in here}
        for domain, done in self._meters.activity().items():
            by_job = by_domain[domain] = {}
            for name, amount in done.items():
                job = name
                if name.startswith("pid:"):
                    job = self._cgroups.job_of(name[4:], self._procfs) or self._job_of.get(name, "")
                if job:
                    self._job_of[name] = job
                    by_job[job] = by_job.get(job, 0) + amount
        return by_domain

    def _without_accounting(self, clock: Clock, some_are_accounted: bool) -> frozenset[str]:
        """Return the jobs whose CPU time no cgroup accounts for, though they have cgroups.

        The cgroups of a step are made one after the other, so a job must be ACCOUNTED_US old. On a node where one was
        found so, younger ones are believed to be too, until a job shows its CPU time. A job that was found stays so.
        """
        opened = {
            str(ledger.job.job_id): ledger.open_mono_us
            for ledger in self._books.ledgers.values()
            if ledger.last is None and not ledger.settled
        }
        found = self._cgroups.unaccounted(set(opened))
        grown_up = {name for name in found if clock.mono_us - opened[name] >= ACCOUNTED_US}
        self._none_accounted = (self._none_accounted or bool(grown_up)) and not some_are_accounted
        self._unaccounted = (self._unaccounted & opened.keys()) | (found if self._none_accounted else grown_up)
        return frozenset(self._unaccounted)

    def _young(self, clock: Clock) -> set[str]:
        """Return the names of the cgroups of jobs whose tasks may only just have been started."""
        born_us = clock.mono_us - YOUNG_US
        ledgers = self._books.open_ledgers()
        return {name for ledger in ledgers if ledger.open_mono_us > born_us for name in ledger.cgroup_names}

    def _learn_limits(self, cgroups: dict[str, Found], clock: Clock, is_due: bool) -> None:
        """Read the limits of each job: slurmstepd sets them after it has made the cgroup, and a job may be changed later.

        A job without a cgroup is searched for, at once while it is young: Slurm may run in a container.
        """
        for ledger in self._books.open_ledgers():
            age_us = clock.mono_us - ledger.open_mono_us
            cgroup = next((cgroups[name] for name in ledger.cgroup_names if name in cgroups), None)
            if cgroup is None and ledger.last is None and (age_us > SEARCH_AFTER_US or not cgroups):
                self._cgroups.search(is_urgent=age_us <= URGENT_US)
            looks = self._looks.get(ledger.key, 0)
            if looks < FIRST_LOOKS or is_due:
                cgroup = cgroup or self._cgroups.confined_without_accounting(str(ledger.job.job_id))
                if cgroup is not None:
                    self._looks[ledger.key] = looks + 1
                    ledger.confine(tuple(self._cgroups.cpuset(cgroup)), self._cgroups.memory_limit(cgroup))
        if is_due:
            self._limits_us = clock.mono_us
            self._looks = {key: looks for key, looks in self._looks.items() if key in self._books.ledgers}
