# SPDX-License-Identifier: MIT
"""One node's collector: at each step it takes in what waits, reads everything, accounts for it and seals."""

from __future__ import annotations

import os
import time

from . import host, meters, state, ticket, tuning
from .arrivals import Arrivals
from .attribution import records
from .attribution.account import READABLE_NOW, Account, ClockWentBack
from .attribution.slots import slot_of
from .attribution.snapshot import Snapshot, read_clock
from .cgroups import Cgroups
from .errors import StateError
from .lean.named import TYPE_CHECKING
from .live import Live
from .meters.base import WHOLE
from .spool.ship import Shipper
from .spool.spool import Header, Spare, Spool
from .units import US_PER_S

if TYPE_CHECKING:
    from .attribution.snapshot import Clock
    from .cgroups import Found
    from .log import Log
    from .settings import Settings
    from .ticket import Ticket

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
"""How old what the aggregator knows of a running job may be, while it keeps up with what it is told."""
TICKET_PATIENCE_US = 60_000_000
"""A ticket that is not whole by then never will be."""


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
        self.meters = meters.Meters(settings.words("collector", "meters"), tuning.place_of(settings))
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
        self.arrivals = Arrivals(
            self.account, self.meters, self.cgroups, self.procfs, log, self._flush_soon, self._restart_stream
        )
        self._flushed_s = 0.0
        self.flush_due_s = float("inf")
        self._done: set[str] = set()
        self._faulty: set[str] = set()
        self._job_of: dict[str, str] = {}

    def _bounded(self, interval_s: float) -> float:
        longest_s = tuning.longest_interval_s(self.meters.domains)
        if interval_s > longest_s:
            self.log.line(f"[collector] interval is too long for a counter that wraps; {longest_s:.1f} s is used")
        return min(interval_s, longest_s)

    def tick_s(self) -> float:
        """Time to the next reading. Without a job there is nothing to share out: an idle node is let sleep longer."""
        if self.account.ledgers or self.arrivals.strangers:
            return self.interval_s
        return min(IDLE_TICKS * self.interval_s, tuning.longest_interval_s(self.meters.domains))

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
        watts, complaint = tuning.idle_watts(self.settings, self.meters.domains)
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
        self.account.follow_clock(clock.wall_us, clock.mono_us)
        tickets = [one for one in tickets if self.arrivals.apply(one, clock)]
        self.arrivals.find_strangers(now, clock)
        self.arrivals.close_lost(now, clock)
        try:
            self.account.advance(now)
        except ClockWentBack:
            if not self._restart_stream("the clock was set back"):
                return  # nowhere to put the rows of the old stream; the counters go on counting
            self.account.advance(now)
        self._tell_faults()
        self.arrivals.forget_old(clock)
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
        # The parent first: what a job is ahead of it, were it there only since then, is taken into account.
        parent = self.cgroups.parent_usage()
        found = self.cgroups.jobs()
        usages = {name: self.cgroups.usage(job.path) for name, job in found.items()}
        # Before the meters: one that hangs is waited for, and the CPU time of jobs and node must be of one instant.
        busy = host.busy_us(self.procfs, self.topology)
        self._learn_limits(found, clock)
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
        self.flush_due_s = min(self.flush_due_s, time.monotonic() + SETTLE_S)

    def flush_if_due(self) -> None:
        """Seal a segment when a slot or a job has ended, or when what the aggregator knows has grown old."""
        now_s = time.monotonic()
        slot = self._open_slot()
        ended = any(row.slot < slot for row in self.account.rows.values())
        shown = now_s - self._flushed_s > SHOW_S and not self.shipper.is_behind() and bool(self.account.ledgers)
        if (ended or shown or now_s >= self.flush_due_s) and not self.flush():
            self.flush_due_s = now_s + max(self.interval_s, SETTLE_S)

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
        for batch in records.batches(self.account):
            if not self._seal(batch):
                return False
        records.forget(self.account, self._open_slot() if slot is None else slot)
        self._flushed_s = time.monotonic()
        self.flush_due_s = float("inf")
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

    def _seal(self, batch: records.Batch) -> bool:
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


def new_stream() -> str:
    """Eight hexadecimal digits by chance."""
    return os.urandom(4).hex()
