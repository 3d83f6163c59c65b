# SPDX-License-Identifier: MIT
"""The node's books: ledgers, rows and everything else that must survive the collector, with the ways to change it.

`advance` moves the books from one snapshot to the next. Others tell the books what happened and do not change their
contents themselves. No I/O.
"""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING
from ..meters.base import EVERY_NODES, IDLE_SHARE, Reading
from ..units import SLOT_S, US_PER_S
from . import slots
from .doubt import Doubts
from .idle_power import IdlePower
from .ledger import EPILOG, Ledger
from .nesting import Nesting
from .overdue import Overdue
from .rows import JobRow, NodeRow
from .snapshot import Snapshot
from .split import static_part

if TYPE_CHECKING:
    from typing import Any

    from ..meters.base import Domain, Part
    from ..topology import Topology
    from ..usage import Usage
    from .minutes import Minutes


MAX_DEFICIT_US = 1_000_000
"""Most CPU time that jobs may be ahead of /proc/stat."""
SLEW_US = 2_000_000
"""A difference between the clocks that changes by no more than this is slewing, not a step."""
MAX_RECENT = 10_000
"""Number of ended runs that are remembered at most; the state on disk has them, and is written at each reading."""
NOT_SEEN = "power was not seen while no collector ran"


class ClockWentBack(Exception):  # noqa: N818 - an event, not a fault: the caller starts a new stream
    """The wall clock is back in a slot whose rows are sealed."""


MAX_RECENT = 10_000
"""Number of ended runs that are remembered at most; the state on disk has them, and is written at each reading."""


class Books:
    """Ledgers, rows, the last snapshot, idle powers, and the numbers of what was sealed.

    `stream` names the stream of records, `domains` the meters' domains, `missing` why a component has none. `recent`
    maps "JobID run" to the end (epoch seconds) of runs that ended lately, `left` the cgroups that runs had left at their
    end to their inodes; `faults` maps domains to why they are unknown; `guesses` says why the use of some job was not
    known in the last interval. `slurm_cpus` is how many CPUs Slurm counts on the node and `shards` how many shards a GPU
    has, 0 where not known. `minutes` are the jobs' energies by minute, `None` where they are not wanted.
    `save` and `load` are the state on disk.
    """

    def __init__(
        self,
        stream: str,
        topology: Topology,
        domains: dict[str, Domain],
        missing: dict[str, str],
        minutes: Minutes | None = None,
    ) -> None:
        self.stream = stream
        self.minutes = minutes
        self.topology = topology
        self.domains = domains
        self.missing = missing
        self.sequence = 0
        self.revision = 0
        self.cluster = ""
        self.last: Snapshot | None = None
        self.last_sealed = 0
        self.memory_base: int | None = None
        self.slurm_cpus = 0
        self.shards = 0
        self.deficit: dict[int, int] = {}
        self.nesting = Nesting()
        self.faults: dict[str, str] = {}
        self.doubts = Doubts()
        self.guesses: set[str] = set()
        self.overdue = Overdue()
        self.resumed = False
        self.idle: dict[str, IdlePower] = {}
        self.ledgers: dict[tuple[int, str], Ledger] = {}
        self._runs: dict[int, list[str]] = {}
        self.job_rows: dict[tuple[int, str, int], JobRow] = {}
        self.node_rows: dict[int, NodeRow] = {}
        self.recent: dict[str, int] = {}
        self._carried: dict[str, tuple[int, int]] = {}
        self.left: dict[str, int] = {}
        self._to_wall: int | None = None

    # -- what the node is ---------------------------------------------------------------------------------------

    def name_cluster(self, cluster: str) -> None:
        """Take in the cluster's name; the first one is kept."""
        self.cluster = self.cluster or cluster

    def use_meters(self, domains: dict[str, Domain], missing: dict[str, str], parts: dict[str, Part]) -> None:
        """Take in the meters that are in use from now on, and find what each open job holds among their devices."""
        self.domains, self.missing = domains, missing
        for ledger in self.open_ledgers():
            ledger.hold(parts, self.shards)

    def use_topology(self, topology: Topology) -> None:
        """Take in the CPUs that are online from now on; what each open job holds of them is told anew."""
        self.topology = topology
        for ledger in self.open_ledgers():
            ledger.dirty = True

    def set_idle_power(self, watts: dict[str, float]) -> None:
        """Take in idle powers that a setting states, by domain."""
        for name, each in watts.items():
            self.idle_of(name).setting_uw = int(each * 1e6)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def open_ledgers(self) -> list[Ledger]:
        """Return the ledgers of jobs that have not ended."""
        return [ledger for ledger in self.ledgers.values() if ledger.closed_us is None]

    def open(self, ledger: Ledger) -> None:
        """Add a ledger. What began before the last reading is taken to begin at that reading.

        A node has one run of a JobID at a time, so an older run that is still open has ended without an epilog.
        """
        late = self._late(ledger.open_mono_us)
        ledger.opened_us += late
        ledger.open_mono_us += late
        for other in self.runs_of(ledger.job.job_id):
            self.close(other, ledger.opened_us, ledger.open_mono_us)
        self._add(ledger)

    def _add(self, ledger: Ledger) -> None:
        self.ledgers[ledger.key] = ledger
        runs = self._runs.setdefault(ledger.job.job_id, [])
        if ledger.job.run not in runs:
            runs.append(ledger.job.run)

    def runs_of(self, job_id: int) -> list[Ledger]:
        """Return the ledgers of one JobID, oldest first."""
        return [self.ledgers[job_id, run] for run in self._runs.get(job_id, ())]

    def _drop(self, key: tuple[int, str]) -> Ledger:
        job_id, run = key
        self._runs[job_id].remove(run)
        if not self._runs[job_id]:
            del self._runs[job_id]
        return self.ledgers.pop(key)

    def close(self, ledger: Ledger, wall_us: int, mono_us: int) -> None:
        """Close a ledger, not before the last reading, since the rows have the job until then. The first end counts."""
        late = self._late(mono_us)
        ledger.close(wall_us + late, mono_us + late)

    def _late(self, mono_us: int) -> int:
        return max(0, self.last.mono_us - mono_us) if self.last is not None else 0

    def forget_runs(self, horizon_s: int) -> None:
        """Forget runs that ended before `horizon_s` (epoch seconds)."""
        self.recent = {key: at for key, at in self.recent.items() if at > horizon_s}

    def left_behind(self, jobs: dict[str, Usage]) -> list[str]:
        """Return the names of the present cgroups that are left of runs that have ended; forget those that are gone.

        A cgroup of the same name that was made anew is a new run's.
        """
        self.left = {name: inode for name, inode in self.left.items() if name in jobs and jobs[name].inode == inode}
        return list(self.left)

    # -- what happens to the node -------------------------------------------------------------------------------

    def new_boot(self, boot_id: str) -> None:
        """End what was open when the node was last seen, because the node has rebooted: no epilog runs after a crash.

        The counters of this boot have nothing to do with those of the last.
        """
        if self.last is None or self.last.boot_id == boot_id:
            return
        for ledger in self.ledgers.values():
            ledger.close(self.last.wall_us, self.last.mono_us)
            ledger.settled = True
        self.deficit = {}
        self.nesting = Nesting()
        self.doubts = Doubts()
        self.last = self._to_wall = None

    def new_process(self, integrated: set[str]) -> None:
        """Forget the readings of powers that the collector itself integrates, because the collector was restarted.

        The counters of the hardware have counted on meanwhile.
        """
        self.resumed = all(ledger.settled for ledger in self.ledgers.values())
        if self.last is not None:
            readings = {n: Reading(None, NOT_SEEN) if n in integrated else r for n, r in self.last.readings.items()}
            self.last = self.last._replace(readings=readings)

    def follow_clock(self, wall_us: int, mono_us: int) -> None:
        """Take in the time by both clocks, before the tickets that were read by it.

        A step of the wall clock makes no job longer: the start of each open job moves with it.
        """
        to_wall = wall_us - mono_us
        step_us = 0 if self._to_wall is None else to_wall - self._to_wall
        self._to_wall = to_wall
        if abs(step_us) <= SLEW_US:
            return
        for ledger in self.open_ledgers():
            ledger.opened_us += step_us
            ledger.dirty = True

    # -- an interval --------------------------------------------------------------------------------------------

    def pieces(self, start_us: int, end_us: int) -> list[tuple[int, int, int]]:
        """Return [start, end) cut at the borders of slots: (slot, start, end) in wall-clock microseconds.

        What a clock that is being slewed puts back into a sealed slot goes to the next one. Raises ClockWentBack where
        the wall clock was stepped back into a sealed slot.
        """
        floor = self.last_sealed + SLOT_S if self.last_sealed else 0
        if start_us < floor * US_PER_S - SLEW_US:
            raise ClockWentBack
        return [(max(slot, floor), start, end) for slot, start, end in slots.cut(start_us, end_us)]

    def system_time(self, socket: int, rest_us: int) -> int:
        """Return the CPU time outside the jobs on a socket, given what /proc/stat shows beyond them (microseconds).

        /proc/stat steps by 10 ms, cgroups by nanoseconds: what jobs are ahead of it in one interval is taken off the next.
        """
        rest = rest_us + self.deficit.get(socket, 0)
        self.deficit[socket] = max(-MAX_DEFICIT_US, min(0, rest))
        return max(0, rest)

    def learn_memory(self, used: int) -> None:
        """Take in the memory in use (bytes) while no job is there; the least is what the system itself needs."""
        self.memory_base = used if self.memory_base is None else min(used, self.memory_base)

    def advanced(self, now: Snapshot, parent: Usage | None) -> None:
        """Make `now` the last snapshot, with `parent` as the next interval has to take it; jobs that ended are settled."""
        self.resumed = False
        for ledger in self.ledgers.values():
            ledger.settled |= ledger.closed_us is not None
        self.last = now._replace(parent=parent)

    def idle_of(self, domain: str) -> IdlePower:
        """Return what is known of the idle power of a domain."""
        if domain not in self.idle:
            self.idle[domain] = IdlePower(self._idle_share(domain))
        elif domain in self.domains:
            self.idle[domain].share = self._idle_share(domain)  # what was loaded may have answered late
        return self.idle[domain]

    def static_part(self, domain: str, slot: int, energy_uj: int, length_us: int) -> int:
        """Return what of an energy a component would have drawn doing nothing; a shortfall is carried within the slot."""
        idle = self.idle_of(domain).idle()
        at, carried_uj = self._carried.get(domain, (slot, 0))
        static, carried_uj = static_part(energy_uj, idle.power_uw, length_us, carried_uj if at == slot else 0)
        if energy_uj:  # a counter that has not stepped yet shows no noise
            self._carried[domain] = (slot, 0 if idle.rule == "unknown" else carried_uj)
        return static

    def _idle_share(self, name: str) -> float:
        domain = self.domains.get(name)
        return IDLE_SHARE.get(domain.component if domain else "cpu", 1.0)

    # -- rows ---------------------------------------------------------------------------------------------------

    def job_row(self, ledger: Ledger, slot: int) -> JobRow:
        """Return the row of a job in a slot, marked as changed; it is made on first use."""
        key = (*ledger.key, slot)
        row = self.job_rows.get(key)
        if row is None:
            row = self.job_rows[key] = JobRow(ledger.job.job_id, ledger.job.run, ledger.opened_us // US_PER_S, slot)
            for name in self.components_of(ledger):
                row.component(name)
        row.dirty = True
        return row

    def node_row(self, slot: int) -> NodeRow:
        """Return the node's own row in a slot, marked as changed; it is made on first use."""
        row = self.node_rows.get(slot)
        if row is None:
            row = self.node_rows[slot] = NodeRow(slot)
        row.dirty = True
        return row

    def components_of(self, ledger: Ledger) -> tuple[str, ...]:
        """Return the components of a job's rows: `gpu` only if it holds one, `other` only where a meter has it."""
        whole = any(domain.component == "other" for domain in self.domains.values())
        return (*EVERY_NODES, *(["gpu"] if ledger.gpus else []), *(["other"] if whole else []))

    def has_rows_before(self, slot: int) -> bool:
        """Return whether there are rows of slots before this one."""
        return any(each < slot for each in self.node_rows) or any(row.slot < slot for row in self.job_rows.values())

    # -- sealing ------------------------------------------------------------------------------------------------

    def is_complete(self, row: JobRow, slot: int) -> bool:
        """Return whether nothing more is expected of a job's row: its slot is before `slot`, or the run has ended."""
        ledger = self.ledgers.get(row.key[:2])
        return row.slot < slot or ledger is None or ledger.settled

    def next_numbers(self) -> tuple[int, int]:
        """Return the next sequence and revision of the stream. They must be on disk before they are used."""
        self.revision += 1
        self.sequence += 1
        return self.sequence, self.revision

    def new_stream(self, stream: str) -> None:
        """Begin a new stream. Nothing of it is sealed yet, and open ledgers are sealed again in it."""
        self.stream = stream
        self.sequence = 0
        self.last_sealed = 0
        for ledger in self.ledgers.values():
            ledger.dirty = True

    def forget(self, slot: int) -> None:
        """Drop what has ended and is sealed: settled ledgers, their rows, and all rows of slots before `slot`.

        What an unreadable counter may still add to is kept.
        """
        waiting = self.overdue.waiting
        kept = {ledger.key for blind in waiting for ledger in blind.work.ledgers}
        slot = min([slot, *(piece.slot for blind in waiting for piece in blind.pieces)])
        ended = {key for key, one in self.ledgers.items() if one.settled and not one.dirty and key not in kept}
        for key in ended:
            self._remember_end(self._drop(key))
        jobs = [k for k, row in self.job_rows.items() if not row.dirty and (k[2] < slot or k[:2] in ended)]
        for row_key in jobs:
            row = self.job_rows.pop(row_key)
            if self.minutes is not None:
                self.minutes.forget(row_key)
            if row_key[:2] in self.ledgers:
                self.ledgers[row_key[:2]].keep(row)
        nodes = [at for at, row in self.node_rows.items() if not row.dirty and at < slot]
        for at in nodes:
            del self.node_rows[at]
        self.last_sealed = max([self.last_sealed, *nodes, *(k[2] for k in jobs if k[2] < slot)])

    def _remember_end(self, ledger: Ledger) -> None:
        """Remember when a run ended and which cgroups it left behind, so that neither opens it again.

        The end of a run that only an epilog announced is not remembered: its prolog may still arrive.
        """
        if ledger.here and ledger.last is not None:
            self.left.update(dict.fromkeys(ledger.cgroup_names, ledger.last.inode))
        if ledger.source != EPILOG:
            self.recent[f"{ledger.job.job_id} {ledger.job.run}"] = (ledger.closed_us or 0) // US_PER_S
        if len(self.recent) > MAX_RECENT:
            del self.recent[next(iter(self.recent))]

    # -- the state on disk --------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Return everything, in the types that JSON has."""
        by_minute = {} if self.minutes is None else {"minutes": self.minutes.save()}
        return {
            "stream": self.stream,
            "sequence": self.sequence,
            "revision": self.revision,
            "cluster": self.cluster,
            "last": self.last.save() if self.last else None,
            "last_sealed": self.last_sealed,
            "memory_base": self.memory_base,
            "deficit": self.deficit,
            "owed": self.nesting.owed,
            "idle": {name: idle.save() for name, idle in self.idle.items()},
            "ledgers": [ledger.save() for ledger in self.ledgers.values()],
            "job_rows": [row.save() for row in self.job_rows.values()],
            "node_rows": [row.save() for row in self.node_rows.values()],
            "recent": self.recent,
            "left": self.left,
            **by_minute,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take up where a collector left off. Raises KeyError, TypeError or ValueError for what is no state."""
        self.stream = str(saved["stream"])
        self.sequence = int(saved["sequence"])
        self.revision = int(saved["revision"])
        self.cluster = str(saved["cluster"])
        self.last = Snapshot.load(saved["last"]) if saved["last"] else None
        self._to_wall = self.last.wall_us - self.last.mono_us if self.last else None
        self.last_sealed = int(saved["last_sealed"])
        self.memory_base = saved["memory_base"]
        self.deficit = {int(socket): us for socket, us in saved["deficit"].items()}
        self.nesting.owed = {str(name): int(uj) for name, uj in saved["owed"].items()}
        self.idle = {name: IdlePower(self._idle_share(name), idle) for name, idle in saved["idle"].items()}
        for ledger in map(Ledger.load, saved["ledgers"]):
            self._add(ledger)
        self.job_rows = {row.key: row for row in map(JobRow.load, saved["job_rows"])}
        self.node_rows = {row.slot: row for row in map(NodeRow.load, saved["node_rows"])}
        if self.minutes is not None:
            self.minutes.load(saved.get("minutes", []), self.job_rows)
        self.left = {str(name): int(inode) for name, inode in saved["left"].items()}
        self.recent = {str(key): int(at) for key, at in saved["recent"].items()}
