# SPDX-License-Identifier: MIT
"""The node's accounts: ledgers and rows, moved forward from one snapshot to the next. No I/O.

Whatever happens between two snapshots, what a meter counted is in the rows once: shared among the jobs that
were there, idle and system.
"""

from __future__ import annotations

from typing import Any

from . import interval, slots
from .cgroups import Usage
from .counter import Counter, delta
from .host import Topology
from .idle import IdlePower
from .interval import Presence
from .ledger import Ledger
from .meters.base import Domain
from .rows import Row
from .snapshot import Snapshot
from .split import Claim, Parts, split, static_part
from .units import SLOT_S, US_PER_S

MILLI = 1000
"""CPUs held are counted in thousandths, so that a share of a socket is an integer."""
BASE_COMPONENTS = ("cpu", "dram")
MAX_DEFICIT_US = 1_000_000
SLEW_US = 2_000_000


class Account:
    """Everything that must survive the collector: `save` and `load` are the state on disk."""

    def __init__(self, stream: str, topology: Topology, domains: dict[str, Domain], missing: dict[str, str]) -> None:
        self.stream = stream
        self.topology = topology
        self.domains = domains
        self.missing = missing
        self.sequence = 0
        self.revision = 0
        self.cluster = ""
        self.last: Snapshot | None = None
        self.last_sealed = 0
        self.memory_base: int | None = None
        self.deficit: dict[int, int] = {}
        self.idle: dict[str, IdlePower] = {}
        self.ledgers: dict[tuple[int, str], Ledger] = {}
        self.rows: dict[tuple[int, str, int], Row] = {}
        self.recent: dict[str, int] = {}

    # -- moving forward ---------------------------------------------------------------------------------------

    def open(self, ledger: Ledger) -> None:
        """Take in a new ledger; what began before the last reading is put at that reading.

        A node has one run of a JobID at a time: an older one whose epilog was never heard of has ended.
        """
        late = self._late(ledger.open_mono_us)
        ledger.opened_us += late
        ledger.open_mono_us += late
        for other in self.ledgers.values():
            if other.job.job_id == ledger.job.job_id:
                self.close(other, ledger.opened_us, ledger.open_mono_us)
        self.ledgers[ledger.key] = ledger

    def close(self, ledger: Ledger, wall_us: int, mono_us: int) -> None:
        """Seal a ledger, not before the last reading: the rows have the job until then. The first end counts."""
        late = self._late(mono_us)
        ledger.close(wall_us + late, mono_us + late)

    def _late(self, mono_us: int) -> int:
        return max(0, self.last.mono_us - mono_us) if self.last is not None else 0

    def new_boot(self, boot_id: str) -> None:
        """After a reboot the counters are other counters; what was open ended when the node was last seen.

        No epilog runs after a crash.
        """
        if self.last is None or self.last.boot_id == boot_id:
            return
        for ledger in self.ledgers.values():
            ledger.close(self.last.wall_us, self.last.mono_us)
            ledger.settled = True
        self.deficit = {}
        self.last = None

    def new_stream(self, stream: str) -> None:
        """Begin a stream: nothing of it is sealed yet, and what is open is told anew."""
        self.stream = stream
        self.sequence = 0
        self.last_sealed = 0
        for ledger in self.ledgers.values():
            ledger.dirty = True

    def advance(self, now: Snapshot) -> None:
        """Account for the time from the last snapshot to this one.

        Raises ClockWentBack, having changed nothing, where the time is in a slot that is sealed.
        """
        last = self.last
        pieces = self._pieces(self._start(last, now), now.wall_us)
        if last is None:
            self._first(now)
        else:
            self._between(last, now, pieces)
        for ledger in self.ledgers.values():
            ledger.settled |= ledger.closed_us is not None
        # A parent that could not be read once has not been made anew: its growth counts from where it was seen.
        self.last = now if now.parent or not last else now._replace(parent=last.parent)

    def _start(self, last: Snapshot | None, now: Snapshot) -> int:
        """Wall-clock time at which the interval began.

        Reckoned back from now by the monotonic clock, so that a stepped clock loses and doubles nothing.
        """
        to_wall = now.wall_us - now.mono_us
        if last is None:
            opened = [ledger.open_mono_us + to_wall for ledger in self.ledgers.values() if not ledger.settled]
            return min([*opened, now.wall_us])
        return last.mono_us + to_wall

    def _pieces(self, start_us: int, end_us: int) -> list[tuple[int, int, int]]:
        """The interval cut at the borders of slots. A clock that is only being slewed must not seem to go back
        into a slot that is sealed: what would fall there goes to the next one. Raises ClockWentBack.
        """
        floor = self.last_sealed + SLOT_S if self.last_sealed else 0
        if start_us < floor * US_PER_S - SLEW_US:
            raise ClockWentBack
        return [(max(slot, floor), start, end) for slot, start, end in slots.cut(start_us, end_us)]

    def _first(self, now: Snapshot) -> None:
        """Nothing to compare with: jobs that are already here were here unmetered, and so was their CPU time;
        in the first interval it would outweigh that of their neighbours.
        """
        to_wall = now.wall_us - now.mono_us
        for ledger in self.ledgers.values():
            if not ledger.settled:
                end = now.mono_us if ledger.close_mono_us is None else ledger.close_mono_us
                ledger.last = self._usage(ledger, now)
                self._unmetered(ledger, ledger.open_mono_us + to_wall, end + to_wall)

    def _unmetered(self, ledger: Ledger, start_us: int, end_us: int) -> None:
        pieces = self._pieces(start_us, max(start_us, end_us))
        used = None if ledger.last is None else slots.share_out(ledger.last.cpu_us, pieces)
        for p, (slot, start, end) in enumerate(pieces):
            row = self._job_row(ledger, slot)
            row.alloc_us += end - start
            row.cpu_us = row.cpu_us if used is None else (row.cpu_us or 0) + used[p]
            for name in self._components_of(ledger):
                row.component(name).blame(self.missing.get(name) or "before the collector's first reading")

    def _between(self, last: Snapshot, now: Snapshot, pieces: list[tuple[int, int, int]]) -> None:
        elapsed = max(0, now.mono_us - last.mono_us)
        ledgers = [ledger for ledger in self.ledgers.values() if not ledger.settled]
        jobs = [self._presence(ledger, last, now) for ledger in ledgers]
        busy = {s: max(0, us - last.busy.get(s, us)) for s, us in now.busy.items()}
        times = interval.cpu_times(jobs, now.parent, last.parent or Usage(0, {}, 0), busy, self.topology)
        system = self._system(busy, times)
        energies = self._energies(last, now, elapsed)
        self._learn(energies, elapsed, busy, now, jobs)
        work = _Work(self, ledgers, jobs, times, system, now)
        work.post(energies, pieces, now.mono_us - now.wall_us)
        for ledger, job in zip(ledgers, jobs):
            ledger.last = job.usage

    def _presence(self, ledger: Ledger, last: Snapshot, now: Snapshot) -> Presence:
        end = now.mono_us if ledger.close_mono_us is None else min(ledger.close_mono_us, now.mono_us)
        usage = self._usage(ledger, now)
        return Presence(
            start_us=max(ledger.open_mono_us, last.mono_us),
            end_us=max(end, ledger.open_mono_us, last.mono_us),
            cpus=ledger.job.cpus or 0,
            usage=usage,
            before=ledger.last,
            gone=ledger.closed_us is not None or (usage is None and ledger.last is not None),
        )

    def _usage(self, ledger: Ledger, now: Snapshot) -> Usage | None:
        """The job's cgroup, if it is this run's: a requeued job has the same JobID, and the newest run has it."""
        if ledger.closed_us is not None and any(
            other.job.job_id == ledger.job.job_id and other.open_mono_us > ledger.open_mono_us
            for other in self.ledgers.values()
        ):
            return None
        for name in ledger.cgroup_names:
            if name in now.jobs:
                return now.jobs[name]
        return None

    def _system(self, busy: dict[int, int], times: list[dict[int, int]]) -> dict[int, int]:
        """CPU time outside the jobs. /proc/stat steps by 10 ms, cgroups by nanoseconds: what a job is ahead
        of it in one interval is taken off the next.
        """
        system = {}
        for socket, us in busy.items():
            rest = us - sum(used.get(socket, 0) for used in times) + self.deficit.get(socket, 0)
            system[socket] = max(0, rest)
            self.deficit[socket] = max(-MAX_DEFICIT_US, min(0, rest))
        return system

    def _energies(self, last: Snapshot, now: Snapshot, elapsed: int) -> dict[str, tuple[int | None, str]]:
        """Energy of each domain in the interval, or `None` and the reason."""
        energies: dict[str, tuple[int | None, str]] = {}
        for name, domain in self.domains.items():
            before, after = last.readings.get(name), now.readings.get(name)
            if after is None or after.energy_uj is None:
                energies[name] = (None, f"{name}: {after.reason if after else 'not read'}")
            elif before is None or before.energy_uj is None:
                energies[name] = (None, f"{name}: readable only since now")
            else:
                found = delta(Counter(domain.range_uj, domain.max_watts), before.energy_uj, after.energy_uj, elapsed)
                energies[name] = (found.energy_uj, f"{name}: {found.reason}" if found.reason else "")
        return energies

    def _learn(
        self,
        energies: dict[str, tuple[int | None, str]],
        elapsed: int,
        busy: dict[int, int],
        now: Snapshot,
        jobs: list[Presence],
    ) -> None:
        """Learn idle power of sockets and their memory, and how much memory the system itself uses."""
        for name, (energy, _) in energies.items():
            domain = self.domains[name]
            if energy is not None and domain.socket >= 0:
                cpus = self.topology.cpus_on(domain.socket) or self.topology.cpus
                used = busy[domain.socket] if domain.socket in busy else sum(busy.values())
                self.idle_of(name).learn(energy, elapsed, used, cpus)
        if now.memory is not None:
            outside = max(0, now.memory - sum(job.usage.memory for job in jobs if job.usage))
            self.memory_base = outside if self.memory_base is None else min(outside, self.memory_base)

    def idle_of(self, domain: str) -> IdlePower:
        """What is known of the idle power of a domain."""
        if domain not in self.idle:
            self.idle[domain] = IdlePower()
        return self.idle[domain]

    # -- rows -------------------------------------------------------------------------------------------------

    def _job_row(self, ledger: Ledger, slot: int) -> Row:
        key = (*ledger.key, slot)
        if key not in self.rows:
            row = self.rows[key] = Row(ledger.job.job_id, ledger.job.run, ledger.opened_us // 1_000_000, slot)
            for name in self._components_of(ledger):
                row.component(name)
        row = self.rows[key]
        row.dirty = True
        return row

    def _node_row(self, slot: int) -> Row:
        row = self.rows.setdefault((0, "", slot), Row(0, "", 0, slot))
        row.dirty = True
        return row

    def _components_of(self, ledger: Ledger) -> tuple[str, ...]:
        return (*BASE_COMPONENTS, "gpu") if ledger.gpus else BASE_COMPONENTS

    # -- the state on disk ------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "stream": self.stream,
            "sequence": self.sequence,
            "revision": self.revision,
            "cluster": self.cluster,
            "last": self.last.save() if self.last else None,
            "last_sealed": self.last_sealed,
            "memory_base": self.memory_base,
            "deficit": self.deficit,
            "idle": {name: idle.save() for name, idle in self.idle.items()},
            "ledgers": [ledger.save() for ledger in self.ledgers.values()],
            "rows": [row.save() for row in self.rows.values()],
            "recent": self.recent,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take up where a collector left off. Raises KeyError, TypeError, ValueError for what is no state."""
        self.stream = str(saved["stream"])
        self.sequence = int(saved["sequence"])
        self.revision = int(saved["revision"])
        self.cluster = str(saved["cluster"])
        self.last = Snapshot.load(saved["last"]) if saved["last"] else None
        self.last_sealed = int(saved["last_sealed"])
        self.memory_base = saved["memory_base"]
        self.deficit = {int(socket): us for socket, us in saved["deficit"].items()}
        self.idle = {name: IdlePower(saved=idle) for name, idle in saved["idle"].items()}
        ledgers = [Ledger.load(ledger) for ledger in saved["ledgers"]]
        self.ledgers = {ledger.key: ledger for ledger in ledgers}
        rows = [Row.load(row) for row in saved["rows"]]
        self.rows = {(row.job_id, row.run, row.slot): row for row in rows}
        self.recent = {str(key): int(at) for key, at in saved["recent"].items()}


class ClockWentBack(Exception):  # noqa: N818 - an event, not a fault: the caller starts a new stream
    """The wall clock is back in a slot whose rows are sealed."""


class _Work:
    """Posting one interval: the jobs, what they used, and the rows it goes to."""

    def __init__(
        self,
        account: Account,
        ledgers: list[Ledger],
        jobs: list[Presence],
        times: list[dict[int, int]],
        system: dict[int, int],
        now: Snapshot,
    ) -> None:
        self.account = account
        self.topology = account.topology
        self.ledgers = ledgers
        self.jobs = jobs
        self.times = times
        self.system = system
        # Without CPU accounting by cgroup (v1 with another JobAcctGatherType) CPU time is unknown, not 0.
        self.cpu_known = [job.usage is not None or now.parent is not None for job in jobs]
        self.memory = [(job.usage or job.before or Usage(0, {}, 0)).memory for job in jobs]
        outside = max(0, now.memory - sum(self.memory)) if now.memory is not None else 0
        self.system_memory = max(0, outside - (account.memory_base or 0))

    def post(
        self,
        energies: dict[str, tuple[int | None, str]],
        pieces: list[tuple[int, int, int]],
        to_mono: int,
    ) -> None:
        """Split every domain's energy in every piece; `to_mono` takes a wall-clock time to the monotonic one."""
        parts_of = {name: slots.share_out(uj, pieces) for name, (uj, _) in energies.items() if uj is not None}
        cpu_pieces = [self._cpu_by_piece(i, pieces, to_mono) for i in range(len(self.jobs))]
        system_pieces = {s: slots.share_out(us, pieces) for s, us in self.system.items()}
        for p, (slot, start, end) in enumerate(pieces):
            alive = [interval.overlap(j.start_us, j.end_us, start + to_mono, end + to_mono) for j in self.jobs]
            there = [i for i in range(len(self.jobs)) if alive[i] or self._ended_here(i, end + to_mono, p, pieces)]
            cpu = {i: {s: us[p] for s, us in cpu_pieces[i].items()} for i in there}
            system = {s: us[p] for s, us in system_pieces.items()}
            self._post_piece(
                slot, end - start, there, alive, cpu, system, energies, {n: v[p] for n, v in parts_of.items()}
            )

    def _ended_here(self, i: int, end_mono: int, p: int, pieces: list[tuple[int, int, int]]) -> bool:
        """A job whose prolog and epilog share an instant still used CPU; it is in the last piece."""
        return self.jobs[i].start_us == self.jobs[i].end_us and p == len(pieces) - 1 and end_mono > 0

    def _cpu_by_piece(self, i: int, pieces: list[tuple[int, int, int]], to_mono: int) -> dict[int, list[int]]:
        """The job's CPU time by socket and piece, by how long it was there in each."""
        job = self.jobs[i]
        lengths = [(s, 0, interval.overlap(job.start_us, job.end_us, b + to_mono, e + to_mono)) for s, b, e in pieces]
        return {socket: slots.share_out(us, lengths) for socket, us in self.times[i].items()}

    def _post_piece(
        self,
        slot: int,
        length: int,
        there: list[int],
        alive: list[int],
        cpu: dict[int, dict[int, int]],
        system: dict[int, int],
        energies: dict[str, tuple[int | None, str]],
        parts_of: dict[str, int],
    ) -> None:
        account = self.account
        node = account._node_row(slot)
        node.alloc_us += length
        for i in there:
            row = account._job_row(self.ledgers[i], slot)
            row.alloc_us += alive[i]
            if self.cpu_known[i]:
                row.cpu_us = (row.cpu_us or 0) + sum(cpu[i].values())
        known: dict[str, bool] = {}
        for name, (_, reason) in energies.items():
            domain = account.domains[name]
            known[name] = name in parts_of
            if name in parts_of:
                self._post_domain(domain, slot, length, there, alive, cpu, system, parts_of[name])
            else:
                node.component(domain.component).blame(reason)
        self._metered(slot, length, there, alive, known, energies)

    def _post_domain(
        self,
        domain: Domain,
        slot: int,
        length: int,
        there: list[int],
        alive: list[int],
        cpu: dict[int, dict[int, int]],
        system: dict[int, int],
        energy: int,
    ) -> None:
        account = self.account
        if domain.component == "gpu":
            there = [i for i in there if domain.name in self.ledgers[i].gpus]
            parts = split(energy, energy, length, [Claim(alive[i], 0) for i in there], 0)
        else:
            static = static_part(energy, account.idle_of(domain.name).idle().power_uw, length)
            claims = [Claim(self._held(domain, i, alive[i]), self._used(domain, i, alive[i], cpu[i])) for i in there]
            parts = split(
                energy, static, self._cpus(domain) * MILLI * length, claims, self._outside(domain, length, system)
            )
        self._book(domain, slot, there, alive, parts, energy)

    def _book(self, domain: Domain, slot: int, there: list[int], alive: list[int], parts: Parts, energy: int) -> None:
        for i, static, dynamic in zip(there, parts.static, parts.dynamic):
            if not (alive[i] or static or dynamic):
                continue  # it was here for no time (an epilog without a prolog): unknown, not 0
            ledger = self.ledgers[i]
            row = self.account._job_row(ledger, slot)
            row.component(domain.component).add(static + dynamic, static, dynamic, domain.method)
            row.simulated |= domain.simulated
            ledger.totals[domain.component] = ledger.totals.get(domain.component, 0) + static + dynamic
        node = self.account._node_row(slot)
        node.component(domain.component).add(energy, parts.idle, parts.system, domain.method)
        node.simulated |= domain.simulated

    def _metered(
        self,
        slot: int,
        length: int,
        there: list[int],
        alive: list[int],
        known: dict[str, bool],
        energies: dict[str, tuple[int | None, str]],
    ) -> None:
        """A component was metered while all of its domains were; a job's GPUs are its own only."""
        account = self.account
        node = account._node_row(slot)
        for component in ("cpu", "dram", "gpu"):
            names = [n for n in known if account.domains[n].component == component]
            if names and all(known[n] for n in names):
                node.component(component).metered_us += length
            elif not names and component in BASE_COMPONENTS:
                node.component(component).blame(account.missing.get(component, ""))
        for i in there:
            row = account._job_row(self.ledgers[i], slot)
            for component, share in row.components.items():
                self._meter_one(component, share, self.ledgers[i], alive[i], known, energies)

    def _meter_one(
        self,
        component: str,
        share: Any,
        ledger: Ledger,
        alive_us: int,
        known: dict[str, bool],
        energies: dict[str, tuple[int | None, str]],
    ) -> None:
        domains = self.account.domains
        names = list(ledger.gpus) if component == "gpu" else [n for n in known if domains[n].component == component]
        bad = [name for name in names if not known.get(name)]
        if names and not bad:
            share.metered_us += alive_us
        elif component in self.account.missing:
            share.blame(self.account.missing[component])
        else:
            share.blame(
                energies[bad[0]][1] if bad and bad[0] in energies else f"{bad[0] if bad else component}: no such device"
            )

    # -- what a claim is made of ------------------------------------------------------------------------------

    def _cpus(self, domain: Domain) -> int:
        return self.topology.cpus_on(domain.socket) or self.topology.cpus

    def _held(self, domain: Domain, i: int, alive_us: int) -> int:
        """Thousandths of the socket's CPUs that the job holds, x time: its CPUs over the node's."""
        cpus = self.jobs[i].cpus * self._cpus(domain) * MILLI // max(1, self.topology.cpus)
        return cpus * alive_us

    def _used(self, domain: Domain, i: int, alive_us: int, cpu: dict[int, int]) -> int:
        if domain.component == "dram":
            return self.memory[i] * alive_us
        return cpu.get(domain.socket, 0) if self.topology.cpus_on(domain.socket) else sum(cpu.values())

    def _outside(self, domain: Domain, length: int, system: dict[int, int]) -> int:
        if domain.component == "dram":
            return self.system_memory * length
        return system.get(domain.socket, 0) if self.topology.cpus_on(domain.socket) else sum(system.values())
