# SPDX-License-Identifier: MIT
"""Defines the work of an interval, and cuts it into pieces that each lie in one slot. Pure; `posting` books it."""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING, NamedTuple
from . import cpu_time, slots

if TYPE_CHECKING:
    from .counter import Energy
    from .cpu_time import Presence
    from .ledger import Ledger


class Work(NamedTuple):
    """The work of one interval: who was there, what each used, and what the meters counted.

    `ledgers` and `jobs` are parallel, and so are `cpu` (CPU microseconds by socket), `cpu_known` and `memory` (bytes).
    `system` is the CPU time outside the jobs by socket, `system_memory` the bytes in use outside them and
    `memory_total` the bytes installed (0: unknown). `energies` is by domain. `activity` is what was done on shared
    devices, by domain and then by UUID of the part or name of the job's cgroup. `shared` says, for each job, of which
    components its use is not known, and why: its part then depends on what it holds. `resumed` is true if no collector
    ran for most of the interval and no known job was open.
    """

    ledgers: list[Ledger]
    jobs: list[Presence]
    cpu: list[dict[int, int]]
    cpu_known: list[bool]
    memory: list[int]
    system: dict[int, int]
    system_memory: int
    memory_total: int
    energies: dict[str, Energy]
    activity: dict[str, dict[str, int]]
    shared: list[dict[str, str]]
    resumed: bool


class Piece(NamedTuple):
    """The part of an interval that lies in one slot.

    `start` (wall clock) and `length` are in microseconds; `to_mono` added to a wall-clock time gives the monotonic one.
    `alive` and `cpu` give, for each job by its index in `Work`, the time that it was there and its CPU time by socket;
    `system` the CPU time outside the jobs, `energy` what each domain drew.
    """

    slot: int
    start: int
    length: int
    to_mono: int
    alive: dict[int, int]
    cpu: dict[int, dict[int, int]]
    system: dict[int, int]
    energy: dict[str, int]


def pieces_of(work: Work, cuts: list[tuple[int, int, int]], to_mono: int) -> list[Piece]:
    """Return the pieces of an interval: everything in it is divided by time, exactly.

    `cuts` are (slot, start, end) in wall-clock microseconds; `to_mono` added to one gives the monotonic time.
    """
    energy = {name: slots.share_out(e.uj, cuts) for name, e in work.energies.items() if e.uj is not None}
    system = {socket: slots.share_out(us, cuts) for socket, us in work.system.items()}
    lives = [[_alive(job, start + to_mono, end + to_mono) for _, start, end in cuts] for job in work.jobs]
    cpu = [_by_life(used, life) for used, life in zip(work.cpu, lives)]
    pieces = []
    for p, (slot, start, end) in enumerate(cuts):
        # A job whose prolog and epilog share an instant still used CPU time; it belongs to the last piece.
        there = [i for i, life in enumerate(lives) if life[p] or (not any(life) and p == len(cuts) - 1)]
        pieces.append(
            Piece(
                slot=slot,
                start=start,
                length=end - start,
                to_mono=to_mono,
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
    """Return a job's CPU time by socket, divided among the pieces in proportion to its time in each."""
    return {socket: slots.share_out(us, [(0, 0, alive) for alive in life]) for socket, us in used.items()}
