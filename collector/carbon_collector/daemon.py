# SPDX-License-Identifier: MIT
"""The collector's life: wait for a ticket or a tick, read everything, account for it, seal, ship."""

from __future__ import annotations

import os
import time

from . import host, meters, sealing, state, ticket
from .account import READABLE_NOW, Account, ClockWentBack
from .cgroups import Cgroups, Found
from .errors import StateError
from .lean.named import NamedTuple
from .lean.native import signal
from .ledger import CGROUP, EPILOG, PROLOG, Ledger
from .live import Live
from .lock import Lock
from .log import Log
from .meters.base import WHOLE, Domain, Place
from .settings import Settings
from .ship import Shipper
from .slots import slot_of
from .snapshot import Snapshot
from .spool import Header, Spare, Spool
from .ticket import Job, Ticket
from .units import SLOT_S, US_PER_S

WAKE = signal.SIGURG
STOP = (signal.SIGTERM, signal.SIGINT)
WARM_UP_S = (0.03, 0.5, 1.5, 3.0)
"""First readings after the start: idle power is learned from intervals, the sooner the better."""
LOOKS_S = (0.3, 1.0, 2.0, 4.0)
"""Readings after a job's begin: what memory a job uses is known only from readings while it is there."""
IDLE_TICKS = 3
"""Ticks between two readings of a node without a job."""
LOOK_SLACK_S = 0.05
"""A reading so short before is as good."""
CPUSET_PATIENCE_US = 30_000_000
"""A job that was given no cpuset by then is not confined."""
SETTLE_S = 1.0
"""Jobs that end within a second of each other go into one segment."""
SHOW_S = 30.0
"""How old what the aggregator knows of a running job may be."""
LEAVE_S = 5.0
"""How long a collector that has nothing else to do waits for its last segment to be acknowledged."""
TICKET_PATIENCE_US = 60_000_000
"""A ticket that is not whole by then never will be."""
AGAIN_S = 10
"""A prolog so long after the end of its run is that of a new life of it; before, it is one that came twice."""
LOST_S = 600
"""How long after its planned end a job without a cgroup is taken for one whose epilog is lost."""
RECENT_S = 3600
"""How long an ended run is remembered, so that a second epilog of it does nothing."""


class Clock(NamedTuple):
    """Both clocks in microseconds, read together."""

    wall_us: int
    mono_us: int


def read_clock() -> Clock:
    """Now. The monotonic clock goes on over a restart of the collector, not over one of the node."""
    return Clock(time.time_ns() // 1000, time.monotonic_ns() // 1000)


class Collector:
    """One node's collector, put together from its settings. Raises OSError where its folders cannot be made."""

    def __init__(self, settings: Settings, node: str, log: Log) -> None:
        self.settings = settings
        self.node = node
        self.log = log
        self.sysfs = settings.text("collector", "sysfs")
        self.procfs = settings.text("collector", "procfs")
        self.run_dir = settings.text("collector", "run_dir")
        self.state_dir = settings.text("collector", "state_dir")
        self.meters = meters.Meters(settings.words("collector", "meters"), place_of(settings))
        self.interval_s = self._bounded(settings.number("collector", "interval"))
        self.topology = host.topology(self.sysfs)
        self.boot_id = host.boot_id(self.procfs)
        self.cgroups = Cgroups(settings.text("collector", "cgroupfs"), node, self.topology)
        self.account = self._account()
        self.spool = Spool(
            settings.text("collector", "spool_dir"), int(settings.number("collector", "spool_limit")) << 20
        )
        munge_socket = settings.text("slurm", "munge_socket")
        self.shipper = Shipper(self.spool, settings.aggregators(), munge_socket, log)
        self.live = Live(f"{self.run_dir}/live")
        self._flushed_s = 0.0
        self._flush_due_s = float("inf")
        self._saw_strangers: set[str] = set()
        self._done: set[str] = set()
        self._faulty: set[str] = set()
        self._job_of: dict[str, str] = {}

    def _bounded(self, interval_s: float) -> float:
        longest_s = longest_interval_s(self.meters.domains)
        if interval_s > longest_s:
            self.log.line(f"[collector] interval is too long for a counter that wraps; {longest_s:.1f} s is used")
        return min(interval_s, longest_s)

    def tick_s(self) -> float:
        """Time to the next reading. Without a job there is nothing to share out: an idle node is let sleep longer."""
        if self.account.ledgers or self._saw_strangers:
            return self.interval_s
        return min(IDLE_TICKS * self.interval_s, longest_interval_s(self.meters.domains))

    def _account(self) -> Account:
        account = Account(new_stream(), self.topology, self.meters.domains, self.meters.missing)
        try:
            saved = state.load(self.state_dir)
            if saved is not None:
                account.load(saved)
        except (StateError, LookupError, TypeError, ValueError, AttributeError) as err:
            self.log.line(f"the state is lost and starts anew: {err}")
            state.set_aside(self.state_dir)
            account = Account(new_stream(), self.topology, self.meters.domains, self.meters.missing)
        account.new_boot(self.boot_id)
        account.new_process(self.meters.integrated)
        for ledger in account.ledgers.values():
            if ledger.closed_us is None:
                ledger.hold(self.meters.parts)
        account.cluster = self.settings.text("site", "cluster") or account.cluster
        self._set_idle(account)
        return account

    def _set_idle(self, account: Account) -> None:
        """Idle power as the settings say, for the domains that are there now."""
        watts, complaint = idle_watts(self.settings, self.meters.domains)
        if complaint:
            self.log.once("idle_watts", complaint)
        for name, each in watts.items():
            account.idle_of(name).setting_uw = int(each * 1e6)

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Take in the tickets that wait and account for the time since the last reading."""
        tickets = self._tickets()
        if self.meters.refresh():
            self._take_meters()
        clock = read_clock()
        now = self._snapshot(clock)
        tickets = [one for one in tickets if self._apply(one, clock)]
        self._find_strangers(now, clock)
        self._close_lost(now, clock)
        try:
            self.account.advance(now)
        except ClockWentBack:
            if not self._restart_stream("the clock was set back"):
                return  # nowhere to put the rows of the old stream; the counters go on counting
            self.account.advance(now)
        self._tell_faults()
        self._forget_old(clock)
        if not self._save():
            return
        for one in tickets:
            self._drop(one.path)
        self._show(clock)

    def _tickets(self) -> list[Ticket]:
        found = []
        for path in ticket.scan(f"{self.run_dir}/tickets"):
            if path in self._done:
                continue
            try:
                one = ticket.read(path, self.node, time.time_ns() // 1000 - TICKET_PATIENCE_US)
            except (OSError, ValueError) as err:
                self.log.line(f"ticket {path} cannot be used: {err}")
                self._drop(path)
                continue
            if one is not None:
                found.append(one)
        return found

    def _drop(self, path: str) -> None:
        """Remove a ticket; one that cannot be removed is not looked at again."""
        try:
            os.unlink(path)
            self._done.discard(path)
        except FileNotFoundError:
            pass  # the run directory was wiped
        except OSError as err:
            self._done.add(path)
            self.log.line(f"ticket {path} cannot be removed: {err}")

    def _show(self, clock: Clock) -> None:
        """Live energy is a courtesy: a run directory that is full or gone stops nothing else."""
        try:
            self.live.show(list(self.account.ledgers.values()), clock.wall_us)
        except (OSError, OverflowError) as err:
            self.log.once("live", f"cannot show live energy in {self.live.folder}: {err}")
        else:
            self.log.over("live", "live energy is shown again")

    def _take_meters(self) -> None:
        """Other meters are in use from now on: a driver has answered late, or was loaded."""
        self.account.domains, self.account.missing = self.meters.domains, self.meters.missing
        self.interval_s = self._bounded(self.settings.number("collector", "interval"))
        self._set_idle(self.account)
        for ledger in self.account.ledgers.values():
            if ledger.closed_us is None:
                ledger.hold(self.meters.parts)

    def _tell_faults(self) -> None:
        """Say once of each domain that it cannot be read or lies, and once that it is well again."""
        faults = self.account.faults
        for name in self._faulty - faults.keys():
            self.log.over(f"meter {name}", f"{name}: is read again")
        for name, reason in faults.items():
            if not reason.endswith(READABLE_NOW):
                self.log.once(f"meter {name}", f"{reason}; it is unknown meanwhile")
        self._faulty = set(faults)

    def _shared(self) -> frozenset[str]:
        """Devices of which a job holds a part, or several jobs the whole: what each does on them is worth knowing."""
        shares: dict[str, list[int]] = {}
        for ledger in self.account.ledgers.values():
            if ledger.closed_us is None:
                for name, share in ledger.parts.items():
                    shares.setdefault(name, []).append(share)
        return frozenset(name for name, held in shares.items() if held != [WHOLE])

    def _activity(self) -> dict[str, dict[str, int]]:
        """What was done on shared devices; that of processes goes to the job whose cgroup they are in, or were in
        when they were last seen: who has ended has none.
        """
        found: dict[str, dict[str, int]] = {}
        here = {name for ledger in self.account.ledgers.values() for name in ledger.cgroup_names}
        self._job_of = {process: job for process, job in self._job_of.items() if job in here}
        for domain, done in self.meters.activity().items():
            by_job = found[domain] = {}
            for name, amount in done.items():
                job = name
                if name.startswith("pid:"):
                    job = self.cgroups.job_of(name[4:], self.procfs) or self._job_of.get(name, "")
                if job:
                    self._job_of[name] = job
                    by_job[job] = by_job.get(job, 0) + amount
        return found

    def _snapshot(self, clock: Clock) -> Snapshot:
        found = self.cgroups.jobs()
        self._learn_limits(found, clock)
        parent = self.cgroups.parent_usage() if self.cgroups.version else None
        usages = {name: self.cgroups.usage(job.path) for name, job in found.items()}
        # Before the meters: one that hangs is waited for, and the CPU time of jobs and node must be of one instant.
        busy = host.busy_us(self.procfs, self.topology)
        self.account.memory_total, memory = host.memory(self.procfs)
        return Snapshot(
            wall_us=clock.wall_us,
            mono_us=clock.mono_us,
            boot_id=self.boot_id,
            readings=self.meters.read(self._shared()),
            busy=busy,
            memory=memory,
            parent=parent,
            jobs={name: usage for name, usage in usages.items() if usage is not None},
            activity=self._activity(),
        )

    def _learn_limits(self, found: dict[str, Found], clock: Clock) -> None:
        """Read what each young job is confined to once its cgroup is there: Slurm does so before its first step."""
        for ledger in self.account.ledgers.values():
            if ledger.cpuset or (ledger.last and clock.mono_us - ledger.open_mono_us > CPUSET_PATIENCE_US):
                continue
            for name in ledger.cgroup_names:
                if name in found:
                    ledger.cpuset = tuple(self.cgroups.cpuset(found[name]))
                    ledger.memory = self.cgroups.memory_limit(found[name])

    def _apply(self, one: Ticket, clock: Clock) -> bool:
        """Open or close the ledger that a ticket speaks of; False where it has to wait. Twice is the same as once."""
        job = one.job
        self.account.cluster = self.account.cluster or job.cluster
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
            ledger.hold(self.meters.parts)
            self.account.open(ledger)
        elif ledger.source == CGROUP:
            ledger.learn(job)
            ledger.hold(self.meters.parts)
        if one.kind == EPILOG:
            self.account.close(ledger, wall_us, mono_us)
            self._flush_soon()
        return True

    def _instant(self, one: Ticket, clock: Clock) -> Clock:
        """When a ticket was written, by both clocks: within the hour, or since the last reading; else now."""
        last = self.account.last
        oldest_us = max(3600 * US_PER_S, clock.mono_us - last.mono_us if last else 0)
        age_us = clock.wall_us - one.wall_us
        age_us = age_us if 0 <= age_us < oldest_us else 0
        return Clock(clock.wall_us - age_us, clock.mono_us - age_us)

    def _ended_s(self, job_id: int, run: str) -> int | None:
        """When a run ended here, in seconds; None if it did not, or has not been here within the hour.

        One of which only an epilog is known has not been here: before Slurm 23.02 the epilog of a run that a reboot
        has ended comes late, and with the restart count of the next run.
        """
        ledger = self.account.ledgers.get((job_id, run))
        if ledger is not None and ledger.settled and ledger.closed_us is not None:
            return ledger.closed_us // US_PER_S if ledger.source != EPILOG else None
        return self.account.recent.get(f"{job_id} {run}") if ledger is None else None

    def _ledger_of(self, job: Job, kind: str) -> Ledger | None:
        """The run's ledger; else the one that was opened for this JobID because its cgroup was there (which may
        have gone a moment before the epilog came); else, for an epilog, whichever run of the JobID is open.
        """
        exact = self.account.ledgers.get((job.job_id, job.run))
        if exact is not None:
            return exact if kind == EPILOG or exact.source != EPILOG else None
        found = [x for x in self.account.ledgers.values() if x.job.job_id == job.job_id]
        if kind == EPILOG:
            return next((x for x in found if x.closed_us is None or x.source == CGROUP), None)
        return next((x for x in found if x.closed_us is None and x.source == CGROUP), None)

    def _find_strangers(self, now: Snapshot, clock: Clock) -> None:
        """Jobs that run here without a ticket: no prolog is configured, or it could not write one.

        They are taken in when they are seen a second time and something runs in them: a directory alone may
        be left over, and a prolog's ticket may be on its way. Their end is the end of their cgroup.
        """
        held = {name for ledger in self.account.ledgers.values() for name in ledger.cgroup_names}
        strangers = {name for name in now.jobs if name not in held}
        for name in strangers & self._saw_strangers:
            self._open_stranger(name, now, clock)
        self._saw_strangers = strangers
        for ledger in self.account.ledgers.values():
            if ledger.source == CGROUP and not any(name in now.jobs for name in ledger.cgroup_names):
                self.account.close(ledger, clock.wall_us, clock.mono_us)
                self._flush_soon()

    def _close_lost(self, now: Snapshot, clock: Clock) -> None:
        """Close what should have ended long ago and is not there: its epilog never ran (slurmd was killed)."""
        for ledger in self.account.ledgers.values() if now.parent is not None else ():
            if _is_overdue(ledger, clock) and not any(name in now.jobs for name in ledger.cgroup_names):
                self.log.line(f"job {ledger.job.job_id} should have ended and is not there; its ledger is closed")
                self.account.close(ledger, clock.wall_us, clock.mono_us)
                self._flush_soon()

    def _open_stranger(self, name: str, now: Snapshot, clock: Clock) -> None:
        found = self.cgroups.jobs().get(name)
        if found is None or not self.cgroups.has_processes(found.path):
            return
        sluid = "" if name.isdigit() else name
        job_id = self.cgroups.job_id_of_sluid(found.path, self.procfs) if sluid else int(name)
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
        self.account.open(ledger)
        self.log.line(f"job {job_id} runs without a prolog's ticket; it is accounted from now on")

    def _ended_just_now(self, job_id: int, clock: Clock) -> bool:
        """Where Slurm runs the epilog inside the job (RunInJob), the cgroup outlives the ledger for a moment."""
        since = clock.wall_us // US_PER_S - 60
        return any(key.startswith(f"{job_id} ") and at >= since for key, at in self.account.recent.items())

    def _forget_old(self, clock: Clock) -> None:
        horizon = clock.wall_us // US_PER_S - RECENT_S
        self.account.recent = {key: at for key, at in self.account.recent.items() if at > horizon}

    def _save(self, sync: bool = False) -> bool:
        try:
            state.save(self.state_dir, self.account.save(), sync)
        except OSError as err:
            self.log.once("state", f"cannot save the state in {self.state_dir}: {err}; accounting goes on in memory")
            return False
        self.log.over("state", "the state is saved again")
        return True

    # -- sealing ------------------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        self._flush_due_s = min(self._flush_due_s, time.monotonic() + SETTLE_S)

    def flush_if_due(self) -> None:
        """Seal a segment when a slot or a job has ended, or when what the aggregator knows has grown old."""
        now_s = time.monotonic()
        slot = self._open_slot()
        ended = any(row.slot < slot for row in self.account.rows.values())
        shown = now_s - self._flushed_s > SHOW_S and not self.shipper.failing() and bool(self.account.ledgers)
        if (ended or shown or now_s >= self._flush_due_s) and not self.flush():
            self._flush_due_s = now_s + max(self.interval_s, SETTLE_S)

    def looks(self) -> list[float]:
        """Seconds until each of the first readings of the young jobs."""
        last = self.account.last
        opened = [x.open_mono_us for x in self.account.ledgers.values() if x.closed_us is None]
        ages_s = [(last.mono_us - us) / US_PER_S for us in opened] if last else []
        return [at - age_s for age_s in ages_s if age_s < LOOKS_S[-1] for at in LOOKS_S if at > age_s + LOOK_SLACK_S]

    def _open_slot(self) -> int:
        """The slot that the next interval begins in. The clock itself may be over its border already."""
        return slot_of(self.account.last.wall_us) if self.account.last else 0

    def flush(self, slot: int | None = None) -> bool:
        """Seal what has changed; rows of slots before `slot` and of ended jobs are then forgotten here."""
        if not self.account.cluster:
            self.log.once(
                "cluster", "nobody has said yet which cluster this is: the first ticket will, or [site] cluster"
            )
            return False
        for batch in sealing.batches(self.account):
            if not self._seal(batch):
                return False
        sealing.forget(self.account, self._open_slot() if slot is None else slot)
        self._flushed_s = time.monotonic()
        self._flush_due_s = float("inf")
        self._save()
        self.shipper.wake()
        return True

    def _numbers(self) -> tuple[int, int]:
        """The next sequence and revision. In the state first, and durably: numbers that the state does not know could
        be used twice, for different things. Raises OSError.
        """
        self.account.revision += 1
        self.account.sequence += 1
        if not self._save(sync=True):
            raise OSError("the state cannot be saved")
        return self.account.sequence, self.account.revision

    def _seal(self, batch: sealing.Batch) -> bool:
        account = self.account
        header = Header(account.cluster, self.node, self.boot_id, account.stream)
        created = read_clock().wall_us // US_PER_S
        spare = Spare(account.stream, account.last_sealed, self._numbers, created, self.log)
        try:
            sequence, revision = self._numbers()
            self.spool.seal(header, sequence, created, batch.records(revision, self.topology.cpus), spare)
        except OSError as err:
            self.log.once("spool", f"cannot write to {self.spool.folder}: {err}; rows wait in memory")
            return False
        self.log.over("spool", "the spool takes segments again")
        batch.sealed()
        return True

    def _restart_stream(self, why: str) -> bool:
        """What comes would replace rows that are sealed and forgotten: what is open is sealed, a new stream begins."""
        self.log.line(f"{why}; a new stream of records begins")
        self.account.overdue.clear()
        if not self.flush(slot_of(1 << 62)):
            return False
        self.account.new_stream(new_stream())
        return True


def _is_overdue(ledger: Ledger, clock: Clock) -> bool:
    """Whether a job's planned end is long past, by both clocks: one that is set forward ends no job."""
    if ledger.closed_us is not None or ledger.job.end_time is None:
        return False
    late_us = (ledger.job.end_time + LOST_S) * US_PER_S
    return clock.wall_us > late_us and clock.mono_us - ledger.open_mono_us > late_us - ledger.opened_us


def place_of(settings: Settings) -> Place:
    """Where this node shows its hardware."""
    return Place(*(settings.text("collector", key) for key in Place._fields))


def longest_interval_s(domains: dict[str, Domain]) -> float:
    """Most time between two readings: no counter may turn more than a quarter of its range in it."""
    turns = [d.range_uj / d.max_watts / US_PER_S for d in domains.values() if d.range_uj]
    return min(turns, default=float("inf")) / 4


def idle_watts(settings: Settings, domains: dict[str, Domain]) -> tuple[dict[str, float], str]:
    """[collector] idle_watts by domain, one figure for all sockets or one each; and what is wrong with it."""
    words = settings.words("collector", "idle_watts")
    try:
        watts = [float(word) for word in words]
    except ValueError:
        return {}, "[collector] idle_watts: not numbers; idle power is learned"
    socket_of = {d.name: d.socket for d in domains.values() if d.component == "cpu"}
    sockets = sorted(set(socket_of.values()))
    if not watts:
        return {}, ""
    if len(watts) not in (1, len(sockets)):
        return {}, f"[collector] idle_watts: {len(watts)} figures for {len(sockets)} sockets; it is learned"
    each = dict(zip(sockets, watts * len(sockets) if len(watts) == 1 else watts))
    dies = list(socket_of.values())
    return {name: each[socket] / dies.count(socket) for name, socket in socket_of.items()}, ""


def new_stream() -> str:
    """Eight hexadecimal digits by chance."""
    return os.urandom(4).hex()


def make_folders(run_dir: str) -> None:
    """Make the run directory and the tickets' in it. Raises OSError."""
    os.makedirs(f"{run_dir}/tickets", mode=0o700, exist_ok=True)
    # Users pass through the run directory to their own live energy; the tickets stay root's.
    os.chmod(run_dir, 0o711)  # noqa: S103 - entering is not listing


def block_signals() -> None:
    """Before the first meter: a thread that it starts inherits this, and then takes no signal that is meant for us."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {WAKE, *STOP})


def run(collector: Collector, lock: Lock, linger_s: float) -> None:
    """Live until there is nothing to do, or until told to stop. The signals are blocked already."""
    collector.shipper.start()
    collector.shipper.wake()
    start_s = busy_s = time.monotonic()
    while True:
        collector.step()
        collector.flush_if_due()
        now_s = time.monotonic()
        if collector.account.ledgers or not collector.spool.is_empty():
            busy_s = now_s
        if now_s - busy_s >= linger_s:
            if _leave(collector, lock):
                return
            busy_s = now_s
        received = signal.sigtimedwait({WAKE, *STOP}, _pause(collector, now_s - start_s, busy_s + linger_s - now_s))
        if received is not None and received.si_signo in STOP:
            collector.step()
            collector.flush()
            return
        if not lock.is_published():
            _publish_again(collector, lock)


def _publish_again(collector: Collector, lock: Lock) -> None:
    """Someone wiped the run directory: make it anew, or no prolog finds this collector."""
    try:
        make_folders(collector.run_dir)
        os.makedirs(collector.live.folder, mode=0o711, exist_ok=True)
        lock.publish()
    except OSError as err:
        collector.log.once("run_dir", f"{collector.run_dir} is gone and cannot be made: {err}")
    else:
        collector.log.over("run_dir", f"{collector.run_dir} is there again")


def _leave(collector: Collector, lock: Lock) -> bool:
    """Ship the rest and go, unless that takes long or a ticket came just now."""
    collector.flush()
    deadline = time.monotonic() + LEAVE_S
    while not collector.spool.is_empty() and time.monotonic() < deadline:
        if ticket.scan(f"{collector.run_dir}/tickets"):
            return False
        time.sleep(0.02)
    if not collector.spool.is_empty():
        return False
    lock.hide()
    if ticket.scan(f"{collector.run_dir}/tickets"):
        lock.publish()
        return False
    return True


def _pause(collector: Collector, age_s: float, left_s: float) -> float:
    """Seconds until the next reading: a tick, the border of a slot, a segment that is due."""
    into_slot = time.time() % SLOT_S
    waits = [collector.tick_s(), SLOT_S - into_slot, collector._flush_due_s - time.monotonic()]
    waits += [at - age_s for at in WARM_UP_S if at > age_s]
    waits += collector.looks()
    if not collector.account.ledgers and collector.spool.is_empty():
        waits.append(left_s)
    return max(0.0, min(waits))
