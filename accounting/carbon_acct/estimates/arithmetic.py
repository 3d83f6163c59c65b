# SPDX-License-Identifier: MIT
"""Estimates the energy of a job's node-time that nobody measured. Pure arithmetic on integers.

Time without rows is multiplied by power that was measured elsewhere: in the same job, else in other jobs of its
partition, else by the hardware's figures. Power is always that of one allocated CPU or GPU. An estimate is kept apart
from what was measured, says what it is based on, and disappears when the missing rows arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import DAY_S, SLOT_S, US_PER_S

WHOLE_SECONDS_US = 2 * US_PER_S
"""The time by which the rows of a ledger may fall short of its length, because its opening and closing are known in
whole seconds.
"""


CLOCK_SLACK_S = 3 * 3600
"""The time in seconds by which a node's clock may differ from Slurm's: one that takes local time for UTC is hours off."""

EPILOG_SLACK_S = 3600
"""The time in seconds by which a node may have held a run for longer than Slurm says: its epilog ended late."""

LONGEST_RUN_S = 400 * DAY_S
"""The longest run in seconds of which an estimate is made. Slurm has longer ones where its controller's clock was set
by decades meanwhile.
"""


CEILING_WATTS = {"cpu": 20_000, "dram": 5_000, "gpu": 50_000, "other": 100_000}
"""The power in watts that no node exceeds in a component. A record that claims more is forged or comes from a broken
meter, and so does a measured power by which an estimate would be more.
"""


@dataclass(frozen=True)
class Power:
    """An energy, and the time of allocated CPUs or GPUs that consumed it."""

    energy_uj: int
    unit_us: int

    def over(self, unit_us: int) -> int:
        """Return the energy of another time at this power, rounded down."""
        return self.energy_uj * unit_us // self.unit_us


@dataclass(frozen=True)
class Basis:
    """What an estimate can be based on: a text for people, and the power of each component that is known from it."""

    method: str
    text: str
    power: Mapping[str, Power]
    simulated: bool = False


@dataclass(frozen=True)
class Held:
    """Nodes that held a run in [begin, end), the CPUs and GPUs of them together, and the time by slot of which rows
    exist.

    `covered_us` is None for nodes without any row. Otherwise the object is one node. `suspended_s` of the time it was
    held without running, nobody knows when: it is left out of each slot by its share.
    """

    begin: int
    end: int
    cpus: int
    gpus: int
    covered_us: Mapping[int, int] | None = None
    nodes: int = 1
    suspended_s: int = 0


@dataclass(frozen=True)
class UnitTime:
    """The time of allocated CPUs and GPUs in one slot of which no row exists, and of their nodes."""

    cpu_us: int = 0
    gpu_us: int = 0
    node_us: int = 0

    def plus(self, held: Held, us: int) -> UnitTime:
        """Return the sum with so much time of nodes that held a run."""
        return UnitTime(self.cpu_us + us * held.cpus, self.gpu_us + us * held.gpus, self.node_us + us * held.nodes)


@dataclass(frozen=True)
class Estimate:
    """The energy of a run in a slot, by component, besides what was measured. `note` is for people."""

    uj: Mapping[str, int]
    method: str
    note: str
    simulated: bool


@dataclass(frozen=True)
class UnmeteredRun:
    """The unmetered time of a run by slot, and the number of its nodes without rows for all of the time, or for a part
    of it.
    """

    slots: Mapping[int, UnitTime] = field(default_factory=dict)
    without_rows: int = 0
    partly: int = 0


def within_run(begin: int, end: int, job_start: int, job_end: int, first_slot: int) -> tuple[int, int]:
    """Return when a node held a run, by its own times, as far as these can be true. All are epoch seconds.

    A node's root may write any time. A run that was resized began before its newest record; its first row says so.
    """
    least = max(min(job_start, first_slot) - CLOCK_SLACK_S, job_end - LONGEST_RUN_S)
    return max(begin, least), min(end, job_end + CLOCK_SLACK_S + EPILOG_SLACK_S)


def unmetered_us(held: Held) -> dict[int, int]:
    """Return the time for which no rows exist, in microseconds of one node by slot.

    Where the node delivered rows, a shortfall of up to WHOLE_SECONDS_US is ignored, the latest slots first.
    """
    covered = held.covered_us or {}
    gaps: dict[int, int] = {}
    held_s = max(1, held.end - held.begin)
    ran_s = max(0, held_s - held.suspended_s)
    for slot in range(held.begin // SLOT_S * SLOT_S, held.end, SLOT_S):
        here_s = min(held.end, slot + SLOT_S) - max(held.begin, slot)
        gaps[slot] = max(0, here_s * US_PER_S * ran_s // held_s - covered.get(slot, 0))
    forgiven = 0 if held.covered_us is None else WHOLE_SECONDS_US
    for slot in reversed(gaps):
        part = min(forgiven, gaps[slot])
        gaps[slot] -= part
        forgiven -= part
    return {slot: us for slot, us in gaps.items() if us}


def unmetered_run(nodes: Iterable[Held]) -> UnmeteredRun:
    """Return the time without rows of a run, over all of its nodes."""
    slots: dict[int, UnitTime] = {}
    without_rows = partly = 0
    for held in nodes:
        gaps = unmetered_us(held)
        for slot, us in gaps.items():
            slots[slot] = slots.get(slot, UnitTime()).plus(held, us)
        without_rows += held.nodes if gaps and held.covered_us is None else 0
        partly += 1 if gaps and held.covered_us is not None else 0
    return UnmeteredRun(slots, without_rows, partly)


def estimates(run: UnmeteredRun, nnodes: int, bases: Sequence[Basis], without: str = "") -> dict[int, Estimate]:
    """Return the estimate of each slot. Each component uses the first of `bases` that knows its power, and by which its
    nodes have no more than any node has. A slot for which none does is left out. `without` names what of the job no
    estimate is known for.
    """
    found: dict[int, Estimate] = {}
    for slot, gap in sorted(run.slots.items()):
        uj: dict[str, int] = {}
        used: list[Basis] = []
        for component in COMPONENTS:
            unit_us = gap.gpu_us if component == "gpu" else gap.cpu_us
            most_uj = CEILING_WATTS[component] * gap.node_us
            basis = next(
                (b for b in bases if component in b.power and b.power[component].over(unit_us) <= most_uj), None
            )
            if basis and unit_us:
                uj[component] = basis.power[component].over(unit_us)
                used += [basis] if basis not in used else []
        if used:
            used.sort(key=bases.index)
            note = f"{_nodes(run, nnodes)} estimated from {' and '.join(b.text for b in used)}"
            note += f"; not estimated: {without}" if without else ""
            found[slot] = Estimate(uj, used[-1].method, note, any(b.simulated for b in used))
    return found


def _nodes(run: UnmeteredRun, nnodes: int) -> str:
    partly = f"part of the time of {run.partly}"
    if not run.without_rows:
        return f"{partly} of {nnodes} nodes"
    return f"{run.without_rows} of {nnodes} nodes" + (f" and {partly} more" if run.partly else "")
