# SPDX-License-Identifier: MIT
"""One node's collector. A step takes in tickets, reads all counters, accounts for the interval, saves and seals."""

from __future__ import annotations

import os
import time

from . import host, meters, state, tuning
from .arrivals import Arrivals
from .asking import Asking
from .attribution import records
from .attribution.advance import READABLE_NOW, advance
from .attribution.books import Books, ClockWentBack
from .attribution.counter import PASSING, STANDS_STILL
from .attribution.slots import slot_of
from .cgroups import Cgroups
from .claim import Claim
from .clock import read_clock
from .errors import StateError
from .intake import Intake
from .lean.typing import TYPE_CHECKING
from .live import Live
from .live_facts import live_facts
from .meters.base import COMPONENTS
from .reader import Reader
from .slurm_side import SlurmSide
from .spool.sealer import Sealer
from .spool.segment import Header, Spare
from .spool.ship import Shipper
from .spool.spool import Spool
from .units import US_PER_S

if TYPE_CHECKING:
    from .log import Log
    from .settings import Settings
    from .ticket import Ticket

LOOKS_S = (0.3, 1.0, 2.0, 4.0)
"""Times of the first readings of a job after its start: its memory is known only from readings while it is there."""
DOUBT_S = 0.1
"""Time to the reading that settles a new doubt: a collector that is killed meanwhile leaves a gap."""
IDLE_TICKS = 3
"""Ticks between two readings of a node without a job."""
LOOK_SLACK_S = 0.05
"""A reading that is due may be skipped if there was one this short before."""
SETTLE_S = 1.0
"""Delay of a segment after the end of a job, so that jobs which end together share one."""
END_S = 0.15
"""Time before the last look at a counter that has not moved yet; NVML's step every tenth of a second."""
TOLD_STILL_US = 10_000_000
"""Time after which a counter that stands still is logged."""
SHOW_S = 30.0
"""Age of what the aggregator knows of a running job at which a segment is sealed, unless segments wait already."""
MANY_LEDGERS = 1000
"""Number of ledgers at which segments are sealed while tickets wait, so that what has ended leaves memory and the state."""


class Collector:
    """One node's collector, made from its settings. Raises OSError where its folders cannot be made."""

    def __init__(self, settings: Settings, node: str, log: Log) -> None:
        self.settings = settings
        self.log = log
        self.sysfs = settings.text("collector", "sysfs")
        self.procfs = settings.text("collector", "procfs")
        self.run_dir = settings.text("collector", "run_dir")
        self.state_dir = settings.text("collector", "state_dir")
        self.claim = Claim(self.sysfs)
        if self.claim.refusal:
            log.line(
                f"{self.claim.refusal}; what jobs of this node use is unknown (carbon-collector(8), SEVERAL SLURMD)"
            )
        self.meters = meters.Meters(settings.words("collector", "meters"), tuning.place_of(settings))
        self.interval_s = self._bounded(settings.number("collector", "interval"))
        self.topology = host.topology(self.sysfs, self.procfs)
        self.boot_id = host.boot_id(self.procfs)
        self.slurm = SlurmSide(node, self.topology.cpus, self.sysfs, log)
        self._named = node
        self.books = self._load_books()
        self.cgroups = Cgroups(settings.text("collector", "cgroupfs"), self.slurm.name, self.topology)
        self.reader = Reader(self.books, self.meters, self.cgroups, self.claim, self.procfs, self.boot_id)
        self.spool = Spool(
            settings.text("collector", "spool_dir"), int(settings.number("collector", "spool_limit")) << 20
        )
        munge_socket = settings.text("slurm", "munge_socket")
        self.sealer = Sealer(self.spool)
        self.shipper = Shipper(
            self.spool, settings.aggregators(), munge_socket, log, settings.text("collector", "aggregator_user")
        )
        self.intake = Intake(f"{self.run_dir}/tickets", log)
        self.live = Live(f"{self.run_dir}/live")
        self.asking = Asking(self.live.folder, settings.number("collector", "live_refresh"))
        self.arrivals = Arrivals(
            self.books, self.meters, self.cgroups, self.procfs, log, self._flush_soon, self._restart_stream
        )
        self._flushed_s = 0.0
        self.flush_due_s = float("inf")
        self._faulty: set[str] = set()
        self._guesses: set[str] = set()
        self._guessed_before: set[str] = set()

    def _bounded(self, interval_s: float) -> float:
        longest_s = tuning.longest_interval_s(self.meters.domains)
        if interval_s > longest_s:
            self.log.line(f"[collector] interval is too long for a counter that wraps; {longest_s:.1f} s is used")
        return min(interval_s, longest_s)

    def tick_s(self) -> float:
        """Return the seconds to the next reading. Without a job there is nothing to divide, so an idle node sleeps longer."""
        if self.books.ledgers or self.arrivals.strangers:
            return self.interval_s
        return min(IDLE_TICKS * self.interval_s, tuning.longest_interval_s(self.meters.domains))

    def _load_books(self) -> Books:
        """Return the books as the last collector left them, or new ones."""
        books = self._new_books()
        try:
            saved = state.load(self.state_dir)
            if saved is not None:
                books.load(saved)
                self.slurm.load(saved["slurm"])
        except (StateError, LookupError, TypeError, ValueError, AttributeError) as err:
            self.log.line(f"the state is lost and starts anew: {err}")
            state.set_aside(self.state_dir)
            books = self._new_books()
        books.new_boot(self.boot_id)
        books.new_process(self.meters.integrated)
        self._use_meters(books)
        named = self.settings.text("site", "cluster")
        if named:
            books.cluster = named
        return books

    def _new_books(self) -> Books:
        minutes = None
        if self.settings.text("collector", "power_minutes") == "yes":
            from .attribution.minutes import Minutes  # only where it is wanted: the module costs memory

            minutes = Minutes()
        return Books(new_stream(), self.topology, self.meters.domains, self.meters.missing, minutes)

    def _use_meters(self, books: Books) -> None:
        """Tell the books of the meters that are in use, and of the idle power that the settings state."""
        if self.claim.refusal:
            books.use_meters({}, dict.fromkeys(COMPONENTS, self.claim.refusal), self.meters.parts)
            return
        books.use_meters(self.meters.domains, self.meters.missing, self.meters.parts)
        watts, complaint = tuning.idle_watts(self.settings, self.meters.domains)
        if complaint:
            self.log.once("idle_watts", complaint)
        books.set_idle_power(watts)

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Take in the waiting tickets and account for the time since the last reading."""
        self._follow_topology()
        self._follow_slurm()
        tickets = [one for one in self.intake.take(self.slurm.name, len(self.books.ledgers)) if self._is_ours(one)]
        if self.meters.refresh() or self.claim.is_won():
            self._take_meters()
        clock = read_clock()
        now = self.reader.snapshot(clock)
        self.books.follow_clock(clock.wall_us, clock.mono_us)
        tickets = [one for one in tickets if self.arrivals.apply(one, clock)]
        self.arrivals.find_strangers(now, clock)
        self.arrivals.close_lost(now, clock)
        self.arrivals.close_ghosts(now)  # before Slurm's CPUs are reckoned from what the jobs hold
        self.books.slurm_cpus = self.slurm.count(self.topology.cpus, self.books.open_ledgers())
        try:
            advance(self.books, now)
        except ClockWentBack:
            if not self._restart_stream("the clock was set back"):
                return  # nowhere to put the rows of the old stream; the counters go on counting
            advance(self.books, now)
        self._tell_faults()
        self.arrivals.forget_old(clock)
        if not self._save():
            return
        for one in tickets:
            self.intake.drop(one.path)
        self._show()

    def _follow_slurm(self) -> None:
        """Take in what Slurm says of this node, and what the node was named at the start."""
        if self._named and self._named != self.slurm.name and not self.books.open_ledgers():
            self._rename(self._named)
        self._named = ""
        name = self.slurm.follow(bool(self.books.cluster))
        if name != self.slurm.name:
            self._rename(name)
        self.books.name_cluster(self.slurm.cluster)
        if self.slurm.shards != self.books.shards:
            self.books.shards = self.slurm.shards
            self._use_meters(self.books)

    def _is_ours(self, one: Ticket) -> bool:
        """Return whether a ticket is of this node, whose name it may be the first to tell; else it is removed."""
        name = self.slurm.new_name(one, lambda: bool(self.books.open_ledgers()))
        if name is None:
            self.intake.drop(one.path)
        elif name != self.slurm.name and not self._rename(name):
            return False  # nowhere to put the rows of the old name; the ticket waits
        return name is not None

    def _rename(self, name: str) -> bool:
        """Go on under another NodeName; what is sealed under the old one stays there."""
        why = f"this node is {name} to Slurm, not {self.slurm.name}"
        if self.books.sequence and not self._restart_stream(why):
            return False
        self.slurm.rename(name)
        self.cgroups.rename(name)
        return True

    def _show(self) -> None:
        """Show live energy. A run directory that is full or gone stops nothing else."""
        try:
            jobs = live_facts(self.books, self.slurm.name)
            self.live.show(jobs)
            self.asking.keep({job: uid for job, (uid, _) in jobs.items()})
        except (OSError, OverflowError) as err:
            self.log.once("live", f"cannot show live energy in {self.live.folder}: {err}")
        else:
            self.log.over("live", "live energy is shown again")
        self.asking.stepped()

    def _follow_topology(self) -> None:
        """Take in CPUs that were switched on or off: a job then holds another part of the node."""
        if host.is_current(self.topology, self.sysfs):
            return
        self.topology = self.cgroups.topology = host.topology(self.sysfs, self.procfs)
        self.books.use_topology(self.topology)
        self.log.line(f"the CPUs that are online have changed: {self.topology.cpus} now")

    def _take_meters(self) -> None:
        """Take in that other meters are in use from now on: a driver has answered late, or was loaded."""
        self.interval_s = self._bounded(self.settings.number("collector", "interval"))
        self._use_meters(self.books)
        for change in self.meters.changes():
            self.log.line(change)

    def _tell_faults(self) -> None:
        """Log once for each domain that it cannot be read or is implausible, and once that it is read again.

        Log as well, once, why the use of jobs is not known, if that lasts for two readings.
        """
        faults = self.books.faults
        for name in self._faulty - faults.keys():
            self.log.over(f"meter {name}", f"{name}: is read again")
        for name, reason in faults.items():
            if not reason.endswith((READABLE_NOW, *PASSING)) and not self._is_short_rest(name, reason):
                self.log.once(f"meter {name}", f"{reason}; it is unknown meanwhile")
        self._faulty = set(faults)
        for why in self.books.guesses - self._guesses if self.books.guesses == self._guessed_before else ():
            self.log.line(f"{why}; see `carbon-collector probe`")
            self._guesses.add(why)
        self._guessed_before = self.books.guesses

    def _is_short_rest(self, name: str, reason: str) -> bool:
        """Return whether a counter stands still, but not for long enough to be worth a line."""
        last = self.books.last
        still_us = self.books.doubts.still_us(name, last.mono_us) if last else 0
        return reason.endswith(STANDS_STILL) and 0 < still_us < TOLD_STILL_US

    def _save(self, sync: bool = False) -> bool:
        try:
            state.save(self.state_dir, {**self.books.save(), "slurm": self.slurm.save()}, sync)
        except OSError as err:
            self.log.once("state", f"cannot save the state in {self.state_dir}: {err}; accounting goes on in memory")
            return False
        self.log.over("state", "the state is saved again")
        return True

    def end(self) -> None:
        """Take the last reading and seal everything."""
        self.step()
        self.look_again()
        self.flush()
        self.meters.close()

    def look_again(self) -> None:
        """Read once more if a counter has not moved yet or seems to have gone down. This is for a collector that ends:
        nobody would read soon enough after it to tell what the counter did.
        """
        if any(reason.endswith(PASSING) for reason in self.books.faults.values()):
            time.sleep(END_S)
            self.step()

    # -- sealing ------------------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        self.flush_due_s = min(self.flush_due_s, time.monotonic() + SETTLE_S)

    def flush_if_due(self) -> None:
        """Seal a segment if a slot or a job has ended, or if what the aggregator knows of a running job is old."""
        now_s = time.monotonic()
        slot = self._open_slot()
        ended = self.books.has_rows_before(slot) or len(self.books.ledgers) >= MANY_LEDGERS
        shown = now_s - self._flushed_s > SHOW_S and not self.shipper.is_behind() and bool(self.books.ledgers)
        due = now_s >= self.flush_due_s and not self.intake.is_behind()  # each segment waits for the disk
        if (ended or shown or due) and not self.flush():
            self.flush_due_s = now_s + max(self.interval_s, SETTLE_S)

    def looks(self) -> list[float]:
        """Return the seconds until each of the first readings of the young jobs, and until one that settles a doubt."""
        last = self.books.last
        opened = [ledger.open_mono_us for ledger in self.books.open_ledgers()]
        ages_s = [(last.mono_us - us) / US_PER_S for us in opened] if last else []
        looks = [at - age_s for age_s in ages_s if age_s < LOOKS_S[-1] for at in LOOKS_S if at > age_s + LOOK_SLACK_S]
        return [*looks, DOUBT_S] if self.books.doubts.is_new else looks

    def _open_slot(self) -> int:
        """Return the slot in which the next interval begins. The clock itself may be past its end already."""
        return slot_of(self.books.last.wall_us) if self.books.last else 0

    def flush(self, slot: int | None = None) -> bool:
        """Seal what has changed and forget rows of slots before `slot` and of ended jobs. Returns whether it succeeded."""
        if not self.books.cluster:
            self.log.once(
                "cluster",
                "nobody has said yet which cluster this is, and nothing is sent: the first ticket will, or scontrol, or set "
                "[site] cluster in carbon-acct.conf",
            )
            return False
        slot = self._open_slot() if slot is None else slot
        for batch in records.batches(self.books, slot):
            if not self._seal(batch):
                return False
        self.books.forget(slot)
        self._flushed_s = time.monotonic()
        self.flush_due_s = float("inf")
        self._save()
        self.shipper.wake()
        return True

    def _numbers(self) -> tuple[int, int]:
        """Return the next sequence and revision, which are durably in the state by then. Raises OSError.

        Numbers that the state does not have could be used twice, for different records.
        """
        numbers = self.books.next_numbers()
        if not self._save(sync=True):
            raise OSError("the state cannot be saved")
        return numbers

    def _seal(self, batch: records.Batch) -> bool:
        books = self.books
        header = Header(books.cluster, self.slurm.name, self.boot_id, books.stream)
        created = read_clock().wall_us // US_PER_S
        spare = Spare(books.stream, books.last_sealed, self._numbers, created, self.log)
        try:
            sequence, revision = self._numbers()
            self.sealer.seal(
                header, sequence, batch.records(revision, self.books.slurm_cpus or self.topology.cpus), spare
            )
        except OSError as err:
            self.log.once("spool", f"cannot write to {self.spool.folder}: {err}; rows wait in memory")
            return False
        self.log.over("spool", "the spool takes segments again")
        batch.sealed()
        return True

    def _restart_stream(self, why: str) -> bool:
        """Seal what is open and begin a new stream, because new rows would replace sealed ones. Returns whether it succeeded."""
        self.log.line(f"{why}; a new stream of records begins")
        self.books.overdue.clear()
        if not self.flush(slot_of(1 << 62)):
            return False
        self.books.new_stream(new_stream())
        return True


def new_stream() -> str:
    """Return the name of a new stream: eight random hexadecimal digits."""
    return os.urandom(4).hex()
