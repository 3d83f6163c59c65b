# SPDX-License-Identifier: MIT
"""The collector's life: wait for a ticket or a tick, read everything, account for it, seal, ship."""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from . import host, meters, sealing, state, ticket
from .account import Account, ClockWentBack
from .cgroups import Cgroups, Found
from .errors import StateError
from .ledger import CGROUP, EPILOG, PROLOG, Ledger
from .live import Live
from .lock import Lock
from .log import Log
from .settings import Settings
from .ship import Shipper
from .slots import slot_of
from .snapshot import Snapshot
from .spool import Header, Spool
from .ticket import Job, Ticket
from .units import SLOT_S, US_PER_S

WAKE = signal.SIGURG
STOP = (signal.SIGTERM, signal.SIGINT)
WARM_UP_S = (0.5, 1.5, 3.0)
"""First readings after the start: idle power is learned from intervals, the sooner the better."""
LOOKS_S = (0.3, 1.0, 3.0)
"""Readings after a job's begin: what memory a job uses is known only from readings while it is there."""
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
        self.meters = meters.choose(
            settings.words("collector", "meters"),
            self.sysfs,
            self.procfs,
            settings.text("collector", "nvml_library"),
        )
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

    def _bounded(self, interval_s: float) -> float:
        """Time between two readings: no counter may turn more than a quarter of its range in it."""
        turns = [d.range_uj / d.max_watts / US_PER_S for d in self.meters.domains.values() if d.range_uj]
        longest = min(turns, default=float("inf")) / 4
        if interval_s > longest:
            self.log.line(f"[collector] interval is too long for a counter that wraps; {longest:.1f} s is used")
        return min(interval_s, longest)

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
        account.cluster = self.settings.text("site", "cluster") or account.cluster
        for name, watts in self._idle_watts().items():
            account.idle_of(name).setting_uw = int(watts * 1e6)
        return account

    def _idle_watts(self) -> dict[str, float]:
        """[collector] idle_watts by domain: one figure for all sockets, or one each."""
        try:
            watts = [float(word) for word in self.settings.words("collector", "idle_watts")]
        except ValueError:
            self.log.line("[collector] idle_watts: not numbers; idle power is learned")
            return {}
        domains = {d.name: d.socket for d in self.meters.domains.values() if d.component == "cpu"}
        sockets = sorted(set(domains.values()))
        if not watts or len(watts) not in (1, len(sockets)):
            if watts:
                self.log.line(f"[collector] idle_watts: {len(watts)} figures for {len(sockets)} sockets; it is learned")
            return {}
        each = dict(zip(sockets, watts * len(sockets) if len(watts) == 1 else watts))
        dies = list(domains.values())
        return {name: each[socket] / dies.count(socket) for name, socket in domains.items()}

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Take in the tickets that wait and account for the time since the last reading."""
        tickets = self._tickets()
        clock = read_clock()
        now = self._snapshot(clock)
        for one in tickets:
            self._apply(one, clock)
        self._find_strangers(now, clock)
        try:
            self.account.advance(now)
        except ClockWentBack:
            if not self._restart_stream():
                return  # nowhere to put the rows of the old stream; the counters go on counting
            self.account.advance(now)
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

    def _snapshot(self, clock: Clock) -> Snapshot:
        found = self.cgroups.jobs()
        self._learn_cpusets(found, clock)
        parent = self.cgroups.parent_usage()
        usages = {name: self.cgroups.usage(job.path) for name, job in found.items()}
        return Snapshot(
            wall_us=clock.wall_us,
            mono_us=clock.mono_us,
            boot_id=self.boot_id,
            readings=self.meters.read(),
            busy=host.busy_us(self.procfs, self.topology),
            memory=host.memory_used(self.procfs),
            parent=parent,
            jobs={name: usage for name, usage in usages.items() if usage is not None},
        )

    def _learn_cpusets(self, found: dict[str, Found], clock: Clock) -> None:
        """Read the cpuset of each young job whose cgroup is there: Slurm confines it before its first step runs."""
        for ledger in self.account.ledgers.values():
            if ledger.cpuset or (ledger.last and clock.mono_us - ledger.open_mono_us > CPUSET_PATIENCE_US):
                continue
            for name in ledger.cgroup_names:
                if name in found:
                    ledger.cpuset = tuple(self.cgroups.cpuset(found[name]))

    def _apply(self, one: Ticket, clock: Clock) -> None:
        """Open or close the ledger that a ticket speaks of. Twice is the same as once."""
        job = one.job
        self.account.cluster = self.account.cluster or job.cluster
        age = clock.wall_us - one.wall_us
        mono_us = clock.mono_us - (age if 0 <= age < 3600 * US_PER_S else 0)
        wall_us = clock.wall_us - (clock.mono_us - mono_us)
        gpus = tuple(self.meters.resolve_gpu(gpu) for gpu in job.gpus)
        ledger = self._ledger_of(job, one.kind)
        if ledger is None and f"{job.job_id} {job.run}" in self.account.recent:
            return
        if ledger is None:
            ledger = Ledger(job, PROLOG if one.kind == PROLOG else EPILOG, wall_us, mono_us, gpus)
            self.account.open(ledger)
        elif ledger.source == CGROUP:
            ledger.learn(job, gpus)
        if one.kind == EPILOG:
            self.account.close(ledger, wall_us, mono_us)
            self._flush_soon()

    def _ledger_of(self, job: Job, kind: str) -> Ledger | None:
        """The run's ledger; else the one that was opened for this JobID because its cgroup was there (which may
        have gone a moment before the epilog came); else, for an epilog, whichever run of the JobID is open.
        """
        exact = self.account.ledgers.get((job.job_id, job.run))
        if exact is not None:
            return exact
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

    def _open_stranger(self, name: str, now: Snapshot, clock: Clock) -> None:
        found = self.cgroups.jobs().get(name)
        if found is None or not self.cgroups.has_processes(found.path):
            return
        sluid = "" if name.isdigit() else name
        job_id = self.cgroups.job_id_of_sluid(found.path, self.procfs) if sluid else int(name)
        if job_id is None or self._ended_just_now(job_id, clock):
            return
        run = f"sluid:{sluid}" if sluid else f"seen:{clock.wall_us // US_PER_S}"
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
        ledger = Ledger(job, CGROUP, clock.wall_us, clock.mono_us, ())
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
            return False  # nobody has said yet which cluster this is: the first ticket will
        for batch in sealing.batches(self.account):
            if not self._seal(batch):
                return False
        sealing.forget(self.account, self._open_slot() if slot is None else slot)
        self._flushed_s = time.monotonic()
        self._flush_due_s = float("inf")
        self._save()
        self.shipper.wake()
        return True

    def _seal(self, batch: sealing.Batch) -> bool:
        account = self.account
        account.revision += 1
        account.sequence += 1
        # The state first, and durably: a revision that the state does not know could be written twice, differently.
        if not self._save(sync=True):
            return False
        header = Header(account.cluster, self.node, self.boot_id, account.stream)
        records = batch.records(account.revision, self.topology.cpus)
        try:
            self.spool.seal(header, account.sequence, read_clock().wall_us // US_PER_S, records)
        except OSError as err:
            self.log.once("spool", f"cannot write to {self.spool.folder}: {err}; rows wait in memory")
            return False
        self.log.over("spool", "the spool takes segments again")
        batch.sealed()
        return True

    def _restart_stream(self) -> bool:
        """The clock went back into sealed slots: what is open is sealed, and a new stream begins."""
        self.log.line("the clock was set back; a new stream of records begins")
        if not self.flush(slot_of(1 << 62)):
            return False
        self.account.new_stream(new_stream())
        return True


def new_stream() -> str:
    """Eight hexadecimal digits by chance."""
    return os.urandom(4).hex()


def make_folders(run_dir: str) -> None:
    """Make the run directory and the tickets' in it. Raises OSError."""
    os.makedirs(f"{run_dir}/tickets", mode=0o700, exist_ok=True)
    # Users pass through the run directory to their own live energy; the tickets stay root's.
    os.chmod(run_dir, 0o711)  # noqa: S103 - entering is not listing


def run(collector: Collector, lock: Lock, linger_s: float) -> None:
    """Live until there is nothing to do, or until told to stop."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {WAKE, *STOP})
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
    waits = [collector.interval_s, SLOT_S - into_slot, collector._flush_due_s - time.monotonic()]
    waits += [at - age_s for at in WARM_UP_S if at > age_s]
    waits += collector.looks()
    if not collector.account.ledgers and collector.spool.is_empty():
        waits.append(left_s)
    return max(0.0, min(waits))
