# SPDX-License-Identifier: MIT
"""Who comes and goes: tickets of prologs and epilogs, and cgroups without one, open and close ledgers."""

from __future__ import annotations

from .attribution.ledger import CGROUP, EPILOG, PROLOG, Ledger
from .attribution.snapshot import Clock
from .lean.named import TYPE_CHECKING
from .ticket import Job
from .units import US_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from .attribution.account import Account
    from .attribution.snapshot import Snapshot
    from .cgroups import Cgroups
    from .log import Log
    from .meters import Meters
    from .ticket import Ticket

AGAIN_S = 10
"""A prolog so long after the end of its run is that of a new life of it; before, it is one that came twice."""
LOST_S = 600
"""How long after its planned end a job without a cgroup is taken for one whose epilog is lost."""
RECENT_S = 3600
"""How long an ended run is remembered, so that a second epilog of it does nothing."""


class Arrivals:
    """Opens and closes the ledgers of one node's account.

    `strangers` are the jobs without a ticket that were there at the last reading. `flush_soon` is called when a job
    has ended; `restart_stream`, with the reason, when what comes would replace what is sealed: it says if it could.
    """

    def __init__(
        self,
        account: Account,
        meters: Meters,
        cgroups: Cgroups,
        procfs: str,
        log: Log,
        flush_soon: Callable[[], None],
        restart_stream: Callable[[str], bool],
    ) -> None:
        self.strangers: set[str] = set()
        self._account = account
        self._meters = meters
        self._cgroups = cgroups
        self._procfs = procfs
        self._log = log
        self._flush_soon = flush_soon
        self._restart_stream = restart_stream

    def apply(self, one: Ticket, clock: Clock) -> bool:
        """Open or close the ledger that a ticket speaks of; False where it has to wait. Twice is the same as once."""
        job = one.job
        self._account.cluster = self._account.cluster or job.cluster
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
            ledger.hold(self._meters.parts)
            self._account.open(ledger)
        elif ledger.source == CGROUP:
            ledger.learn(job)
            ledger.hold(self._meters.parts)
        if one.kind == EPILOG:
            self._account.close(ledger, wall_us, mono_us)
            self._flush_soon()
        return True

    def _instant(self, one: Ticket, clock: Clock) -> Clock:
        """When a ticket was written, by both clocks: within the hour, or since the last reading; else now."""
        last = self._account.last
        oldest_us = max(3600 * US_PER_S, clock.mono_us - last.mono_us if last else 0)
        age_us = clock.wall_us - one.wall_us
        age_us = age_us if 0 <= age_us < oldest_us else 0
        return Clock(clock.wall_us - age_us, clock.mono_us - age_us)

    def _ended_s(self, job_id: int, run: str) -> int | None:
        """When a run ended here, in seconds; None if it did not, or has not been here within the hour.

        One of which only an epilog is known has not been here: before Slurm 23.02 the epilog of a run that a reboot
        has ended comes late, and with the restart count of the next run.
        """
        ledger = self._account.ledgers.get((job_id, run))
        if ledger is not None and ledger.settled and ledger.closed_us is not None:
            return ledger.closed_us // US_PER_S if ledger.source != EPILOG else None
        return self._account.recent.get(f"{job_id} {run}") if ledger is None else None

    def _ledger_of(self, job: Job, kind: str) -> Ledger | None:
        """The run's ledger; else the one that was opened for this JobID because its cgroup was there (which may
        have gone a moment before the epilog came); else, for an epilog, whichever run of the JobID is open.
        """
        exact = self._account.ledgers.get((job.job_id, job.run))
        if exact is not None:
            return exact if kind == EPILOG or exact.source != EPILOG else None
        found = [x for x in self._account.ledgers.values() if x.job.job_id == job.job_id]
        if kind == EPILOG:
            return next((x for x in found if x.closed_us is None or x.source == CGROUP), None)
        return next((x for x in found if x.closed_us is None and x.source == CGROUP), None)

    def find_strangers(self, now: Snapshot, clock: Clock) -> None:
        """Jobs that run here without a ticket: no prolog is configured, or it could not write one.

        They are taken in when they are seen a second time and something runs in them: a directory alone may
        be left over, and a prolog's ticket may be on its way. Their end is the end of their cgroup.
        """
        held = {name for ledger in self._account.ledgers.values() for name in ledger.cgroup_names}
        strangers = {name for name in now.jobs if name not in held}
        for name in strangers & self.strangers:
            self._open_stranger(name, now, clock)
        self.strangers = strangers
        for ledger in self._account.ledgers.values():
            if ledger.source == CGROUP and not any(name in now.jobs for name in ledger.cgroup_names):
                self._account.close(ledger, clock.wall_us, clock.mono_us)
                self._flush_soon()

    def close_lost(self, now: Snapshot, clock: Clock) -> None:
        """Close what should have ended long ago and is not there: its epilog never ran (slurmd was killed)."""
        for ledger in self._account.ledgers.values() if now.parent is not None else ():
            if _is_overdue(ledger, clock) and not any(name in now.jobs for name in ledger.cgroup_names):
                self._log.line(f"job {ledger.job.job_id} should have ended and is not there; its ledger is closed")
                self._account.close(ledger, clock.wall_us, clock.mono_us)
                self._flush_soon()

    def _open_stranger(self, name: str, now: Snapshot, clock: Clock) -> None:
        found = self._cgroups.jobs().get(name)
        if found is None or not self._cgroups.has_processes(found.path):
            return
        sluid = "" if name.isdigit() else name
        job_id = self._cgroups.job_id_of_sluid(found.path, self._procfs) if sluid else int(name)
        if job_id is None or self._ended_just_now(job_id, clock):
            return
        run = f"sluid:{sluid}" if sluid else f"seen:{clock.wall_us // US_PER_S}"
        if self._ended_s(job_id, run) is not None and not self._restart_stream(f"job {job_id} runs on as {run}"):
            return
        unknown = dict.fromkeys(("user", "account", "partition", "restart_count", "het_job_id"))
        job = Job(
            job_id=job_id,
            run=run,
            uid=found.uid,
            cpus=None,
            gpus=(),
            sluid=sluid,
            cluster="",
            **unknown,
        )
        ledger = Ledger(job, CGROUP, clock.wall_us, clock.mono_us)
        ledger.last = now.jobs[name]
        self._account.open(ledger)
        self._log.line(f"job {job_id} runs without a prolog's ticket; it is accounted from now on")

    def _ended_just_now(self, job_id: int, clock: Clock) -> bool:
        """Where Slurm runs the epilog inside the job (RunInJob), the cgroup outlives the ledger for a moment."""
        since = clock.wall_us // US_PER_S - 60
        return any(key.startswith(f"{job_id} ") and at >= since for key, at in self._account.recent.items())

    def forget_old(self, clock: Clock) -> None:
        """Forget runs that ended long ago: no second epilog of them is to be expected any more."""
        horizon = clock.wall_us // US_PER_S - RECENT_S
        self._account.recent = {key: at for key, at in self._account.recent.items() if at > horizon}


def _is_overdue(ledger: Ledger, clock: Clock) -> bool:
    """Whether a job's planned end is long past, by both clocks: one that is set forward ends no job."""
    if ledger.closed_us is not None or ledger.job.end_time is None:
        return False
    late_us = (ledger.job.end_time + LOST_S) * US_PER_S
    return clock.wall_us > late_us and clock.mono_us - ledger.open_mono_us > late_us - ledger.opened_us
