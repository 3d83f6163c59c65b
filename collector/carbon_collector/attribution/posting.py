# SPDX-License-Identifier: MIT
"""Splits an interval's energies among the jobs, idle and system, and books every part to the rows. No I/O."""

from __future__ import annotations

from ..apportion import apportion
from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..meters.base import COMPONENTS, EVERY_NODES, WHOLE
from . import cpu_time
from .split import Claim, Parts, split

if TYPE_CHECKING:
    from ..meters.base import Domain
    from .books import Books
    from .ledger import Ledger
    from .overdue import Blind
    from .rows import JobShare, NodeShare
    from .work import Piece, Work


DEVICE_UNSEEN = "shared by the parts held: what each job did on the device is not known"
PARTS_UNKNOWN = "shared evenly: how many shards of the device each job holds is not known"


def post(books: Books, work: Work, pieces: list[Piece]) -> None:
    """Book an interval that was cut into pieces."""
    names = {c: [name for name in work.energies if books.domains[name].component == c] for c in COMPONENTS}
    for piece in pieces:
        _post_times(books, work, piece)
        for name, uj in piece.energy.items():
            _book(books, work, piece, books.domains[name], uj)
        _post_coverage(books, work, piece, names)


def post_late(books: Books, blind: Blind, domain: Domain, energy_uj: int) -> None:
    """Book what a domain drew in an interval in which it could not be read."""
    lengths = [piece.length for piece in blind.pieces]
    parts = apportion(energy_uj, lengths) if any(lengths) else [energy_uj] + [0] * (len(lengths) - 1)
    for piece, part in zip(blind.pieces, parts):
        _book(books, blind.work, piece, domain, part)
        _cover_late(books, blind, piece, domain)


def _post_times(books: Books, work: Work, piece: Piece) -> None:
    books.node_row(piece.slot).elapsed_us += piece.length
    for i, alive_us in piece.alive.items():
        row = books.job_row(work.ledgers[i], piece.slot)
        row.alloc_us += alive_us
        if work.cpu_known[i]:
            row.cpu_us = (row.cpu_us or 0) + sum(piece.cpu[i].values())
        elif not row.cpu_us:
            row.cpu_us = None  # 0 was what no cgroup showed before it was clear that none accounts for this job


def _book(books: Books, work: Work, piece: Piece, domain: Domain, energy_uj: int) -> None:
    """Split a domain's energy in a piece and book every part of it."""
    holders, parts = _split(books, work, piece, domain, energy_uj)
    device = _guessed(work, piece, domain, holders)
    for i, static, dynamic in zip(holders, parts.static, parts.dynamic):
        if not (piece.alive[i] or static or dynamic):
            continue  # it was here for no time (an epilog without a prolog): unknown, not 0
        ledger = work.ledgers[i]
        row = books.job_row(ledger, piece.slot)
        why = device.why or work.shared[i].get(domain.component, "")
        shared_uj = (static if device.parts else 0) + (dynamic if device.use or not device.why else 0)
        row.component(domain.component).add(static, dynamic, domain.method, why, shared_uj)
        if books.minutes is not None:
            books.minutes.add(row, domain.component, static + dynamic, piece, work.jobs[i])
        row.simulated |= domain.simulated
    node = books.node_row(piece.slot)
    node.component(domain.component).add(energy_uj, parts.idle, parts.system, domain.method)
    node.simulated |= domain.simulated


def _split(books: Books, work: Work, piece: Piece, domain: Domain, energy_uj: int) -> tuple[list[int], Parts]:
    """Return who has a claim on a domain's energy (indexes in `Work`), and the part of each."""
    if domain.component == "gpu":
        return _split_device(books, work, piece, domain, energy_uj)
    topology = books.topology
    # A domain on a socket whose CPUs are not known is split by what happened on all of the node.
    sockets = [domain.socket] if topology.cpus_on(domain.socket) else sorted(set(topology.socket_of.values()))
    capacity = sum(topology.cpus_on(s) for s in sockets) * cpu_time.MILLI
    is_memory = domain.component == "dram"
    claims = []
    for i, alive_us in piece.alive.items():
        held = sum(work.jobs[i].held.get(s, 0) for s in sockets)
        if is_memory:
            held = _memory_held(work.ledgers[i].memory, work.memory_total, held, capacity)
        used = work.memory[i] * alive_us if is_memory else sum(piece.cpu[i].get(s, 0) for s in sockets)
        claims.append(Claim(held * alive_us, used))
    outside = work.system_memory * piece.length if is_memory else sum(piece.system.get(s, 0) for s in sockets)
    static = energy_uj
    if domain.component != "other":  # fans, disks and losses are there for whoever holds the node
        static = books.static_part(domain.name, piece.slot, energy_uj, piece.length)
    parts = split(energy_uj, static, capacity * piece.length, claims, outside)
    if work.resumed and domain.component == "cpu":
        cpus = max(1, sum(topology.cpus_on(s) for s in sockets))
        parts = _at_most(parts, [claim.used * domain.max_watts // (2 * cpus) for claim in claims])
    return list(piece.alive), parts


def _at_most(parts: Parts, most_uj: list[int]) -> Parts:
    """Return the parts with each dynamic energy limited to what full load would have drawn in the job's CPU time.

    The rest belongs to the system. A collector that a job's prolog starts after an hour without one sees that hour and
    the job's first moment as one interval. An error of the idle power over an hour must not go to whoever used the CPU
    in that moment.
    """
    dynamic = [min(part, most) for part, most in zip(parts.dynamic, most_uj)]
    return parts._replace(dynamic=dynamic, system=parts.system + sum(parts.dynamic) - sum(dynamic))


def _memory_held(limit: int | None, total: int, held: int, capacity: int) -> int:
    """Return the part of `capacity` that stands for the memory a job was given; without a limit its share of the CPUs."""
    return capacity * limit // total if limit is not None and 0 < limit < total else held


def _split_device(books: Books, work: Work, piece: Piece, domain: Domain, energy_uj: int) -> tuple[list[int], Parts]:
    """Return who holds a device (indexes in `Work`), and the part of its energy that each gets.

    A job that holds the whole device gets all of its energy, used or not. Where several jobs hold it, or one holds a
    part of it, idle power is divided by the parts held, the rest by what each did on it, else by the parts held too.
    """
    holders = [i for i in piece.alive if domain.name in work.ledgers[i].parts]
    held = [work.ledgers[i].parts[domain.name] * piece.alive[i] for i in holders]
    whole = all(work.ledgers[i].parts[domain.name] >= WHOLE for i in holders)
    if whole and sum(held) <= WHOLE * piece.length:
        return holders, split(energy_uj, energy_uj, WHOLE * piece.length, [Claim(h, 0) for h in held], 0)
    done = work.activity.get(domain.name)
    used = held if done is None else [_done_by(work.ledgers[i], done) for i in holders]
    static = books.static_part(domain.name, piece.slot, energy_uj, piece.length)
    claims = [Claim(h, u) for h, u in zip(held, used if any(used) else held)]
    return holders, split(energy_uj, static, WHOLE * piece.length, claims, 0)


class Guessed(NamedTuple):
    """What is not known of a device that several jobs hold: the part that each holds, what each did on it; and why."""

    parts: bool
    use: bool
    why: str


def _guessed(work: Work, piece: Piece, domain: Domain, holders: list[int]) -> Guessed:
    """Return what is not known of a device's holders. Whoever's part is not known is taken to hold the whole: Slurm tells a
    node nothing of shards.
    """
    if domain.component != "gpu" or len(holders) < 2:
        return Guessed(False, False, "")
    held = sum(work.ledgers[i].parts[domain.name] * piece.alive[i] for i in holders)
    done = work.activity.get(domain.name)
    parts, use = held > WHOLE * piece.length, not done or not any(_done_by(work.ledgers[i], done) for i in holders)
    return Guessed(parts, use, PARTS_UNKNOWN if parts else DEVICE_UNSEEN if use else "")


def _done_by(ledger: Ledger, done: dict[str, int]) -> int:
    return sum(done.get(name, 0) for name in (*ledger.gpus, *ledger.cgroup_names))


def _post_coverage(books: Books, work: Work, piece: Piece, names: dict[str, list[str]]) -> None:
    """Count the time for which each component was metered: that is, all of its domains; of a job's GPUs only its own."""
    node = books.node_row(piece.slot)
    for component in COMPONENTS:
        if names[component] or component in EVERY_NODES:
            _cover(books, work, component, names[component], node.component(component), piece.length)
    for i, alive_us in piece.alive.items():
        ledger = work.ledgers[i]
        for component, share in books.job_row(ledger, piece.slot).components.items():
            own = list(ledger.parts) if component == "gpu" else names[component]
            _cover(books, work, component, own, share, alive_us)


def _cover_late(books: Books, blind: Blind, piece: Piece, domain: Domain) -> None:
    """Count a piece as metered after all, if no other domain of the component is unknown in it."""
    component, work = domain.component, blind.work
    names = {name for name, one in books.domains.items() if one.component == component}
    if not names & blind.unknown:
        node = books.node_row(piece.slot)
        node.component(component).cover_late(piece.length, node.elapsed_us)
    for i, alive_us in piece.alive.items():
        ledger = work.ledgers[i]
        own = set(ledger.parts) if component == "gpu" else names
        if domain.name in own and not own & blind.unknown and own <= work.energies.keys():
            row = books.job_row(ledger, piece.slot)
            row.component(component).cover_late(alive_us, row.alloc_us)


def _cover(
    books: Books, work: Work, component: str, names: list[str], share: JobShare | NodeShare, metered_us: int
) -> None:
    """Count the time as metered, or state why it is not."""
    bad = [name for name in names if name not in work.energies or work.energies[name].reason]
    if names and not bad:
        share.metered_us += metered_us
    elif component in books.missing:
        share.blame(books.missing[component])
    else:
        known = work.energies.get(bad[0]) if bad else None
        share.blame(known.reason if known else f"{bad[0] if bad else component}: no such device")
