# SPDX-License-Identifier: MIT
"""Estimates the energy of node-time of a job that nobody measured: pure arithmetic, in integers.

Time of which no node has told is multiplied with the power that was measured elsewhere: of the same job, else
of other jobs in its partition, else with the hardware's figures. Power is always that of an allocated CPU or GPU.
An estimate is kept apart from what was measured, says what it rests on, and is gone when the rows come after all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import SLOT_S, US_PER_S

WHOLE_SECONDS_US = 2 * US_PER_S
"""When a ledger was opened and closed is known in whole seconds: its rows may fall short of that by so much."""


@dataclass(frozen=True)
class Power:
    """An energy, and the time of allocated CPUs or GPUs that consumed it."""

    energy_uj: int
    unit_us: int

    def over(self, unit_us: int) -> int:
        """Energy in another time at this power, rounded down."""
        return self.energy_uj * unit_us // self.unit_us


@dataclass(frozen=True)
class Basis:
    """What estimates can rest on: `text` for people, and the power of each component that is known from it."""

    method: str
    text: str
    power: Mapping[str, Power]
    simulated: bool = False


@dataclass(frozen=True)
class Held:
    """Nodes that held a run in [begin, end), with so many CPUs and GPUs together, and the time of which there are rows.

    `told_us` is None for nodes of which there is no row at all; else by slot, and it is one node.
    """

    begin: int
    end: int
    cpus: int
    gpus: int
    told_us: Mapping[int, int] | None = None
    nodes: int = 1


@dataclass(frozen=True)
class Gap:
    """Time of allocated CPUs and GPUs in one slot of which there is no row."""

    cpu_us: int = 0
    gpu_us: int = 0


@dataclass(frozen=True)
class Estimate:
    """What a run consumed in a slot besides what was measured, by component; `note` is for people."""

    uj: Mapping[str, int]
    method: str
    note: str
    simulated: bool


@dataclass(frozen=True)
class Outage:
    """All of a run that nobody told of: by slot, and how many of its nodes were silent, wholly or for a time."""

    slots: Mapping[int, Gap] = field(default_factory=dict)
    silent: int = 0
    partly: int = 0


def missing_us(held: Held) -> dict[int, int]:
    """Slot -> time of each of these nodes without a row. Its sum is 0 where what is missing are parts of a second."""
    told = held.told_us or {}
    gaps: dict[int, int] = {}
    for slot in range(held.begin // SLOT_S * SLOT_S, held.end, SLOT_S):
        here_s = min(held.end, slot + SLOT_S) - max(held.begin, slot)
        gaps[slot] = max(0, here_s * US_PER_S - told.get(slot, 0))
    forgiven = 0 if held.told_us is None else WHOLE_SECONDS_US
    for slot in reversed(gaps):
        part = min(forgiven, gaps[slot])
        gaps[slot] -= part
        forgiven -= part
    return {slot: us for slot, us in gaps.items() if us}


def outage(nodes: Iterable[Held]) -> Outage:
    """What is missing of a run, over all of its nodes."""
    slots: dict[int, Gap] = {}
    silent = partly = 0
    for held in nodes:
        gaps = missing_us(held)
        for slot, us in gaps.items():
            before = slots.get(slot, Gap())
            slots[slot] = Gap(before.cpu_us + us * held.cpus, before.gpu_us + us * held.gpus)
        silent += held.nodes if gaps and held.told_us is None else 0
        partly += 1 if gaps and held.told_us is not None else 0
    return Outage(slots, silent, partly)


def estimates(run: Outage, nnodes: int, bases: Sequence[Basis]) -> dict[int, Estimate]:
    """Slot -> estimate, each component by the first of `bases` that knows its power. Slots of which none does are left out."""
    found: dict[int, Estimate] = {}
    for slot, gap in sorted(run.slots.items()):
        uj: dict[str, int] = {}
        used: list[Basis] = []
        for component in COMPONENTS:
            unit_us = gap.gpu_us if component == "gpu" else gap.cpu_us
            basis = next((b for b in bases if component in b.power), None)
            if basis and unit_us:
                uj[component] = basis.power[component].over(unit_us)
                used += [basis] if basis not in used else []
        if used:
            used.sort(key=bases.index)
            note = f"{_nodes(run, nnodes)} estimated from {' and '.join(b.text for b in used)}"
            found[slot] = Estimate(uj, used[-1].method, note, any(b.simulated for b in used))
    return found


def _nodes(run: Outage, nnodes: int) -> str:
    partly = f"part of the time of {run.partly}"
    if not run.silent:
        return f"{partly} of {nnodes} nodes"
    return f"{run.silent} of {nnodes} nodes" + (f" and {partly} more" if run.partly else "")
