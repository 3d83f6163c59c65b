# SPDX-License-Identifier: MIT
"""Posting: one interval's energies are split among the jobs, idle and system, and booked to the rows. No I/O."""

from __future__ import annotations

from ..lean.named import TYPE_CHECKING, NamedTuple
from ..meters.base import WHOLE
from . import cpu_time, slots
from .split import Claim, Parts, split, static_part

if TYPE_CHECKING:
    from ..meters.base import Domain
    from .account import Account
    from .cpu_time import Presence
    from .ledger import Ledger
    from .rows import Share

COMPONENTS = ("cpu", "dram", "gpu", "other")
EVERY_NODES = ("cpu", "dram")
"""What every node draws power for, whether or not it can be metered."""


class Energy(NamedTuple):
    """What a domain drew in the interval, in microjoules; `None` and the reason where that cannot be known."""

    uj: int | None
    reason: str


class Work(NamedTuple):
    """What went on in one interval.

    `ledgers` and `jobs` go together, and so do `cpu` (CPU microseconds by socket), `cpu_known` and `memory` (bytes);
    `system` is the CPU time outside the jobs by socket, `system_memory` the bytes; `energies` by domain; `activity`
    is what was done on shared devices, by domain and UUID of the part or name of the job's cgroup; `resumed`: no
    collector ran for most of it, and no job that a collector knew of.
    """

    ledgers: list[Ledger]
    jobs: list[Presence]
    cpu: list[dict[int, int]]
    cpu_known: list[bool]
    memory: list[int]
    system: dict[int, int]
    system_memory: int
    energies: dict[str, Energy]
    activity: dict[str, dict[str, int]]
    resumed: bool


class Piece(NamedTuple):
    """The part of an interval that lies in one slot: its length, and of each job, by its place in `Work`, for how
    long it was there and what CPU time it used; what the system used; what each domain drew.
    """

    slot: int
    length: int
    alive: dict[int, int]
    cpu: dict[int, dict[int, int]]
    system: dict[int, int]
    energy: dict[str, int]


def post(account: Account, work: Work, cuts: list[tuple[int, int, int]], to_mono: int) -> list[Piece]:
    """Book an interval, cut at the borders of slots; `to_mono` takes a wall-clock time to the monotonic one."""
    pieces = _pieces(work, cuts, to_mono)
    names = {c: [name for name in work.energies if account.domains[name].component == c] for c in COMPONENTS}
    for piece in pieces:
        _post_times(account, work, piece)
        for name, uj in piece.energy.items():
            domain = account.domains[name]
            book(account, work, piece, domain, uj)
        _post_coverage(account, work, piece, names)
    return pieces


def _pieces(work: Work, cuts: list[tuple[int, int, int]], to_mono: int) -> list[Piece]:
    """Everything that happened in the interval, shared out over its pieces by time, exactly."""
    energy = {name: slots.share_out(e.uj, cuts) for name, e in work.energies.items() if e.uj is not None}
    system = {socket: slots.share_out(us, cuts) for socket, us in work.system.items()}
    lives = [[_alive(job, start + to_mono, end + to_mono) for _, start, end in cuts] for job in work.jobs]
    cpu = [_by_life(used, life) for used, life in zip(work.cpu, lives)]
    pieces = []
    for p, (slot, start, end) in enumerate(cuts):
        # A job whose prolog and epilog share an instant still used CPU; it is in the last piece.
        there = [i for i, life in enumerate(lives) if life[p] or (not any(life) and p == len(cuts) - 1)]
        pieces.append(
            Piece(
                slot=slot,
                length=end - start,
                alive={i: lives[i][p] for i in there},
                cpu={i: {s: us[p] for s, us in cpu[i].items()} for i in there},
                system={s: us[p] for s, us in system.items()},
                energy={name: uj[p] for name, uj in energy.items()},
            )
        )
    return pieces


def _alive(job: Presence, start_us: int, end_us: int) -> int:
    return cpu_time.overlap(job.start_us, job.end_us, start_us, end_us)


def _by_life(used: dict[int, int], life: list[int]) -> dict[int, list[int]]:
    """CPU time by socket and piece, by how long the job was there in each."""
    return {socket: slots.share_out(us, [(0, 0, alive) for alive in life]) for socket, us in used.items()}


def _post_times(account: Account, work: Work, piece: Piece) -> None:
    account.node_row(piece.slot).alloc_us += piece.length
    for i, alive_us in piece.alive.items():
        row = account.job_row(work.ledgers[i], piece.slot)
        row.alloc_us += alive_us
        if work.cpu_known[i]:
            row.cpu_us = (row.cpu_us or 0) + sum(piece.cpu[i].values())


def book(account: Account, work: Work, piece: Piece, domain: Domain, energy_uj: int) -> None:
    """Split a domain's energy and book every part of it."""
    holders, parts = _split(account, work, piece, domain, energy_uj)
    for i, static, dynamic in zip(holders, parts.static, parts.dynamic):
        if not (piece.alive[i] or static or dynamic):
            continue  # it was here for no time (an epilog without a prolog): unknown, not 0
        ledger = work.ledgers[i]
        row = account.job_row(ledger, piece.slot)
        row.component(domain.component).add(static + dynamic, static, dynamic, domain.method)
        row.simulated |= domain.simulated
        ledger.totals[domain.component] = ledger.totals.get(domain.component, 0) + static + dynamic
    node = account.node_row(piece.slot)
    node.component(domain.component).add(energy_uj, parts.idle, parts.system, domain.method)
    node.simulated |= domain.simulated


def _split(account: Account, work: Work, piece: Piece, domain: Domain, energy_uj: int) -> tuple[list[int], Parts]:
    """Who has a claim on a domain's energy, and what comes to each."""
    if domain.component == "gpu":
        return _split_device(account, work, piece, domain, energy_uj)
    topology = account.topology
    # A domain on a socket whose CPUs are not known is split by what happened on all of the node.
    sockets = [domain.socket] if topology.cpus_on(domain.socket) else sorted(set(topology.socket_of.values()))
    capacity = sum(topology.cpus_on(s) for s in sockets) * cpu_time.MILLI
    is_memory = domain.component == "dram"
    claims = []
    for i, alive_us in piece.alive.items():
        held = sum(work.jobs[i].held.get(s, 0) for s in sockets)
        if is_memory:
            held = _memory_held(work.ledgers[i].memory, account.memory_total, held, capacity)
        used = work.memory[i] * alive_us if is_memory else sum(piece.cpu[i].get(s, 0) for s in sockets)
        claims.append(Claim(held * alive_us, used))
    outside = work.system_memory * piece.length if is_memory else sum(piece.system.get(s, 0) for s in sockets)
    static = energy_uj
    if domain.component != "other":  # fans, disks and losses are there for whoever holds the node
        static = static_part(energy_uj, account.idle_of(domain.name).idle().power_uw, piece.length)
    parts = split(energy_uj, static, capacity * piece.length, claims, outside)
    if work.resumed and domain.component == "cpu":
        cpus = max(1, sum(topology.cpus_on(s) for s in sockets))
        parts = _at_most(parts, [claim.used * domain.max_watts // (2 * cpus) for claim in claims])
    return list(piece.alive), parts


def _at_most(parts: Parts, most_uj: list[int]) -> Parts:
    """Nobody has more dynamic energy than full load on its CPU time would have drawn; the rest is the system's.

    A collector that is started by a job's prolog after an hour without one sees that hour and the job's first moment as
    one interval: what idle power is off by in an hour must not go to whoever used the CPU in that moment.
    """
    dynamic = [min(part, most) for part, most in zip(parts.dynamic, most_uj)]
    return parts._replace(dynamic=dynamic, system=parts.system + sum(parts.dynamic) - sum(dynamic))


def _memory_held(limit: int | None, total: int, held: int, capacity: int) -> int:
    """The part of `capacity` that stands for the memory a job was given; without a limit its share of the CPUs."""
    return capacity * limit // total if limit is not None and 0 < limit < total else held


def _split_device(
    account: Account, work: Work, piece: Piece, domain: Domain, energy_uj: int
) -> tuple[list[int], Parts]:
    """A device's whole energy to the job that holds it, used or not. Where several hold it, or one a part of it:
    its idle power by the parts held, the rest by what each did on it, else by the parts held as well.
    """
    holders = [i for i in piece.alive if domain.name in work.ledgers[i].parts]
    held = [work.ledgers[i].parts[domain.name] * piece.alive[i] for i in holders]
    whole = all(work.ledgers[i].parts[domain.name] >= WHOLE for i in holders)
    if whole and sum(held) <= WHOLE * piece.length:
        return holders, split(energy_uj, energy_uj, WHOLE * piece.length, [Claim(h, 0) for h in held], 0)
    done = work.activity.get(domain.name)
    used = held if done is None else [_done_by(work.ledgers[i], done) for i in holders]
    static = static_part(energy_uj, account.idle_of(domain.name).idle().power_uw, piece.length)
    claims = [Claim(h, u) for h, u in zip(held, used if any(used) else held)]
    return holders, split(energy_uj, static, WHOLE * piece.length, claims, 0)


def _done_by(ledger: Ledger, done: dict[str, int]) -> int:
    return sum(done.get(name, 0) for name in (*ledger.gpus, *ledger.cgroup_names))


def _post_coverage(account: Account, work: Work, piece: Piece, names: dict[str, list[str]]) -> None:
    """A component was metered while all of its domains were; a job's GPUs are its own only."""
    node = account.node_row(piece.slot)
    for component in COMPONENTS:
        if names[component] or component in EVERY_NODES:
            _cover(account, work, component, names[component], node.component(component), piece.length)
    for i, alive_us in piece.alive.items():
        ledger = work.ledgers[i]
        for component, share in account.job_row(ledger, piece.slot).components.items():
            own = list(ledger.parts) if component == "gpu" else names[component]
            _cover(account, work, component, own, share, alive_us)


def cover_late(account: Account, work: Work, piece: Piece, domain: Domain, unknown: set[str]) -> None:
    """Count a piece as metered after all, where nothing else of the component is unknown in it."""
    component = domain.component
    names = {name for name, one in account.domains.items() if one.component == component}
    if not names & unknown:
        account.node_row(piece.slot).component(component).metered_us += piece.length
    for i, alive_us in piece.alive.items():
        ledger = work.ledgers[i]
        own = set(ledger.parts) if component == "gpu" else names
        if domain.name in own and not own & unknown and own <= work.energies.keys():
            account.job_row(ledger, piece.slot).component(component).metered_us += alive_us


def _cover(account: Account, work: Work, component: str, names: list[str], share: Share, metered_us: int) -> None:
    """Count the time as metered, or say why it is not."""
    bad = [name for name in names if name not in work.energies or work.energies[name].uj is None]
    if names and not bad:
        share.metered_us += metered_us
    elif component in account.missing:
        share.blame(account.missing[component])
    else:
        known = work.energies.get(bad[0]) if bad else None
        share.blame(known.reason if known else f"{bad[0] if bad else component}: no such device")
