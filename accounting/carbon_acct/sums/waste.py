# SPDX-License-Identifier: MIT
"""Computes what a job held in a slot, and the energy of what it held and did not use. Pure.

The rules are those of docs/methodology.md, Waste. They judge a delivered row: one job, on one node, in one slot.
What a node did not tell is not judged, and is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from carbon_acct.db.models import COUNTED, METERED
from carbon_acct.factors.idle_use import IdleUse
from carbon_acct.factors.node_types import held_gpus
from carbon_acct.known import sum_known

Unused = tuple[int | None, int | None, int | None, int | None]


class Held(Protocol):
    """What a ledger says of what the job holds on the node."""

    cpus: int | None
    gpus: str | None


class HeldRow(Protocol):
    """A delivered row with its ledger."""

    @property
    def ledger(self) -> Held:
        """Return the ledger."""
        ...

    @property
    def row(self) -> Mapping[str, Any]:
        """Return the columns of node_job_slot."""
        ...


def held_and_unused(rows: Sequence[HeldRow], idle: IdleUse) -> Unused:
    """Return the CPU time and GPU time held (microseconds), the energy of GPUs held at idle power, and the energy of
    CPUs held and not used (microjoules), of a job in a slot. None: not known.
    """
    parts = [_of_row(delivered, idle) for delivered in rows]
    cpu, gpu, idle_uj, unused_uj = zip(*parts, strict=True) if parts else ((), (), (), ())
    return sum_known(cpu), sum_known(gpu), sum_known(idle_uj), sum_known(unused_uj)


def _of_row(delivered: HeldRow, idle: IdleUse) -> Unused:
    ledger, row = delivered.ledger, delivered.row
    alloc_us = row["alloc_us"]
    core_us = None if ledger.cpus is None else alloc_us * ledger.cpus
    gpus = ledger.gpus or "[]"
    if gpus != "[]":  # a job with GPUs is judged by them: its CPUs often wait for them by design
        gpu_us = _gpu_us(gpus, alloc_us)
        return core_us, gpu_us, _idle_uj(row, gpu_us, idle), None
    return core_us, None, None, _unused_uj(row, core_us, idle)


@lru_cache(maxsize=4096)
def _gpu_us(gpus: str, alloc_us: int) -> int:
    return round(held_gpus(json.loads(gpus)) * alloc_us)


def _idle_uj(row: Mapping[str, Any], gpu_us: int, idle: IdleUse) -> int | None:
    """Return all energy of the GPUs where their mean power, while they were metered, is idle power: microjoules a
    microsecond are watts. A part of a device (`shared`) is not judged.
    """
    energy_uj: int | None = row["gpu_uj"]
    alloc_us, metered_us = row["alloc_us"], row["gpu_metered_us"]
    if energy_uj is None or row["gpu_method"] not in COUNTED or not gpu_us or not metered_us:
        return None
    held_us = gpu_us * min(metered_us, alloc_us) // alloc_us
    return energy_uj if energy_uj <= idle.gpu_watts * held_us else 0


def _unused_uj(row: Mapping[str, Any], core_us: int | None, idle: IdleUse) -> int | None:
    """Return the static energy of the unused share of the CPUs, where too little of them was used."""
    used_us: int | None = row["cpu_us"]
    static_uj: int | None = sum_known(row[f"{c}_static_uj"] for c in ("cpu", "other") if row[f"{c}_method"] in METERED)
    if not core_us or used_us is None or static_uj is None:
        return None
    if used_us * 100 >= idle.cpu_percent * core_us:
        return 0
    return static_uj * (core_us - used_us) // core_us
