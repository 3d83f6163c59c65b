# SPDX-License-Identifier: MIT
"""Opens and closes ledgers: by the tickets of prologs and epilogs, and by cgroups of jobs without a ticket."""

from __future__ import annotations

from .attribution.ghosts import ghosts
from .attribution.ledger import CGROUP, EPILOG, PROLOG, Ledger
from .clock import Clock
from .job import Job
from .lean.typing import TYPE_CHECKING
from .units import US_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from .attribution.books import Books
    from .attribution.snapshot import Snapshot
    from .cgroups import Cgroups
    from .log import Log
    from .meters import Meters
    from .ticket import Ticket

AGAIN_S = 10
"""Age of a run's end from which a prolog means that Slurm started the run again; before, it is a duplicate ticket."""
LOST_S = 600
"""Time after its planned end at which the epilog of a job without a cgroup is taken to be lost."""
RECENT_S = 3600
"""Time for which an ended run is remembered, so that a duplicate epilog does nothing."""


class Arrivals:
    """Opens and closes the ledgers in one node's books.

    `strangers` are the cgroups of jobs without a ticket at the last reading. `flush_soon` is called when a job has
    ended. `restart_stream` is called, with the reason, when a run's rows would replace sealed ones; it returns whether
    it succeeded.
    """

    def __init__(
        self,
        books: Books,
        meters: Meters,
        cgroups: Cgroups,
        procfs: str,
        log: Log,
        flush_soon: Callable[[], None],
        restart_stream: Callable[[str], bool],
    ) -> None:
        self.strangers: set[str] = set()
        self._books = books
        self._meters = meters
        self._cgroups = cgroups
        self._procfs = procfs
        self._log = log
        self._flush_soon = flush_soon
        self._restart_stream = restart_stream

    def apply(self, one: Ticket, clock: Clock) -> bool:
        """Open or close the ledger of a ticket. Returns False if the ticket has to wait. A duplicate changes nothing."""
        job = one.job
        self._books.name_cluster(job.cluster)
        ended_s = self._ended_s(job.job_id, job.run)
        if ended_s is not None and (one.kind == EPILOG or one.wall_us // US_PER_S <= ended_s + AGAIN_S):
            return True
        # A slurmctld that crashed before it had saved that the run had begun runs it again under the same name.
        if ended_s is not None and not self._restart_stream(f"job {job.job_id} runs again as {job.run}"):
            return False
        wall_us, mono_us = self._instant(one, clock)
        ledger = self._ledger_of(job, one.kind)
        if ledger is None:
            ledger = Ledger(job, PROLOG if one.kind == PROLOG else EPILOG, wall_us, mono_us)
            ledger.hold(self._meters.parts, self._books.shards)
            self._books.open(ledger)
        elif ledger.source == CGROUP:
            ledger.learn(job)
            ledger.hold(self._meters.parts, self._books.shards)
        if one.kind == EPILOG:
            self._books.close(ledger, wall_us, mono_us)
            self._flush_soon()
        return True

    def _instant(self, one: Ticket, clock: Clock) -> Clock:
        """Return when a ticket was written, if that is within the last hour or since the last reading; else now."""
        last = self._books.last
        oldest_us = max(3600 * US_PER_S, clock.mono_us - last.mono_us if last else 0)
        age_us = clock.wall_us - one.wall_us
        age_us = age_us if 0 <= age_us < oldest_us else 0
        return Clock(clock.wall_us - age_us, clock.mono_us - age_us)

    def _ended_s(self, job_id: int, run: str) -> int | None:
        """Return when a run ended here, in epoch seconds; `None` if it did not within the last hour.

        A run of which only an epilog is known was not here: before Slurm 23.02 the epilog of a run that a reboot ended
        arrives late, and with the restart count of the next run.
        """
        ledger = self._books.ledgers.get((job_id, run))
        if ledger is not None and ledger.settled and ledger.closed_us is not None:
            return ledger.closed_us // US_PER_S if ledger.source != EPILOG else None
        return self._books.recent.get(f"{job_id} {run}") if ledger is None else None

    def _ledger_of(self, job: Job, kind: str) -> Ledger | None:
        """Return the ledger that a ticket is about, if there is one.

        That is the run's own; else one that was opened for this JobID because of its cgroup, which may have gone just
        before the epilog; else, for an epilog, any run of the JobID that is open.
        """
        exact = self._books.ledgers.get((job.job_id, job.run))
        if exact is not None:
            return exact if kind == EPILOG or exact.source != EPILOG else None
        ledgers = self._books.runs_of(job.job_id)
        if kind == EPILOG:
            return next((x for x in ledgers if x.closed_us is None or x.source == CGROUP), None)
        return next((x for x in ledgers if x.closed_us is None and x.source == CGROUP), None)

    def find_strangers(self, now: Snapshot, clock: Clock) -> None:
        """Open ledgers for jobs that run here without a ticket: no prolog is configured, or it could not write one.

        A cgroup counts when it is seen a second time and has a process in it: a directory alone may be left over, and a
        prolog's ticket may yet arrive. Such a ledger ends with its cgroup.
        """
        held = {name for ledger in self._books.ledgers.values() for name in ledger.cgroup_names}
        left = self._books.left_behind(now.jobs)
        for name in left:
            self._log.once(f"left {name}", f"processes of job {name}, which has ended, are left; they are the system's")
        strangers = {name for name in now.jobs if name not in held and name not in left}
        for name in strangers & self.strangers:
            self._open_stranger(name, now, clock)
        self.strangers = strangers
        for ledger in self._books.ledgers.values():
            if ledger.source == CGROUP and not any(name in now.jobs for name in ledger.cgroup_names):
                self._books.close(ledger, clock.wall_us, clock.mono_us)
                self._flush_soon()

    def close_lost(self, now: Snapshot, clock: Clock) -> None:
        """Close ledgers of jobs that should have ended long ago and have no cgroup: their epilog never ran."""
        for ledger in self._books.ledgers.values() if now.parent is not None else ():
            if _is_overdue(ledger, clock) and not any(name in now.jobs for name in ledger.cgroup_names):
                self._log.line(f"job {ledger.job.job_id} should have ended and is not there; its ledger is closed")
                self._books.close(ledger, clock.wall_us, clock.mono_us)
                self._flush_soon()

    def close_ghosts(self, now: Snapshot) -> None:
        """Close ledgers of jobs whose CPUs or GPUs Slurm has given to others, and whose cgroup is gone or empty.

        Slurm may fail to remove a cgroup. Whether one is empty is looked at only where CPUs or GPUs are held twice.
        """
        ledgers = self._books.open_ledgers()
        cpus = self._books.slurm_cpus or self._books.topology.cpus
        if now.parent is None or not ghosts(ledgers, (), cpus):
            return
        cgroups = self._cgroups.jobs()
        alive = {name for name in now.jobs if name in cgroups and self._cgroups.has_processes(cgroups[name].path)}
        for ghost in ghosts(ledgers, alive, cpus):
            job, heir = ghost.ledger.job, ghost.heir
            self._log.line(
                f"job {job.job_id} had no epilog, and job {heir.job.job_id} has its place; its ledger is closed"
            )
            self._books.close(ghost.ledger, heir.opened_us, heir.open_mono_us)
            self._flush_soon()

    def _open_stranger(self, name: str, now: Snapshot, clock: Clock) -> None:
        cgroup = self._cgroups.jobs().get(name)
        if cgroup is None or not self._cgroups.has_processes(cgroup.path):
            return
        sluid = "" if name.isdigit() else name
        job_id = self._cgroups.job_id_of_sluid(cgroup.path, self._procfs) if sluid else int(name)
        if job_id is None or self._ended_just_now(job_id, clock):
            return
        run = f"sluid:{sluid}" if sluid else f"seen:{clock.wall_us // US_PER_S}"
        if self._ended_s(job_id, run) is not None and not self._restart_stream(f"job {job_id} runs on as {run}"):
            return
        job = Job(
            job_id=job_id,
            run=run,
            uid=cgroup.uid,
            user=None,
            account=None,
            partition=None,
            restart_count=None,
            het_job_id=None,
            cpus=None,
            gpus=(),
            sluid=sluid,
            cluster="",
        )
        ledger = Ledger(job, CGROUP, clock.wall_us, clock.mono_us)
        ledger.seen(now.jobs[name])
        self._books.open(ledger)
        self._log.line(f"job {job_id} runs without a prolog's ticket; it is accounted from now on")

    def _ended_just_now(self, job_id: int, clock: Clock) -> bool:
        """Return whether a job ended a moment ago: where Slurm runs the epilog inside the job (RunInJob), the cgroup stays
        a little longer than the ledger.
        """
        since = clock.wall_us // US_PER_S - 60
        return any(key.startswith(f"{job_id} ") and at >= since for key, at in self._books.recent.items())

    def forget_old(self, clock: Clock) -> None:
        """Forget runs that ended long ago, because no duplicate epilog is to be expected any more."""
        self._books.forget_runs(clock.wall_us // US_PER_S - RECENT_S)


def _is_overdue(ledger: Ledger, clock: Clock) -> bool:
    """Return whether a job's planned end is long past by both clocks: a wall clock that is set forward ends no job."""
    if ledger.closed_us is not None or ledger.job.end_time is None:
        return False
    late_us = (ledger.job.end_time + LOST_S) * US_PER_S
    return clock.wall_us > late_us and clock.mono_us - ledger.open_mono_us > late_us - ledger.opened_us
