# SPDX-License-Identifier: MIT
"""What jobs and nodes really consumed, from the simulator's log: what the product's figures are held against.

The rule is that of docs/methodology.md, with the simulator's own knowledge in place of measurements: a job
pays idle power x time for the share of each socket that it reserved, and the energy of the CPU time it used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .hardware import PJ_PER_UJ, SOCKETS, Node


@dataclass(frozen=True)
class Allocation:
    """What a job held on one node: CPUs, seconds, the share of memory (that of the CPUs if None), GPUs' UUIDs."""

    cpus: int
    seconds: float
    memory_share: float | None = None


@dataclass(frozen=True)
class JobTruth:
    """Microjoules of one job on one node, and its CPU seconds on each socket."""

    cpu_static_uj: int
    cpu_dynamic_uj: int
    dram_static_uj: int
    dram_dynamic_uj: int
    cpu_seconds: tuple[float, ...]

    @property
    def cpu_uj(self) -> int:
        """Energy of the packages."""
        return self.cpu_static_uj + self.cpu_dynamic_uj

    @property
    def dram_uj(self) -> int:
        """Energy of the memory."""
        return self.dram_static_uj + self.dram_dynamic_uj


class Log:
    """The log of one node."""

    def __init__(self, folder: Path, node: Node) -> None:
        self.node = node
        lines = (folder / f"{node.name}.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines if line.endswith("}")]
        self.node_records: list[dict[str, Any]] = [r for r in records if "job" not in r]
        self.job_records: list[dict[str, Any]] = [r for r in records if "job" in r]

    def job(self, job_id: int | str, allocation: Allocation) -> JobTruth:
        """Truth of all runs of a job on this node, or of the run with a SLUID. `allocation` must cover the same."""
        runs = {r["first_ns"]: r for r in self.job_records if r["job"] == str(job_id)}  # the last record holds
        cpu_ns = [sum(run["cpu_ns"][socket] for run in runs.values()) for socket in range(SOCKETS)]
        share = allocation.cpus / self.node.cpus
        memory_share = share if allocation.memory_share is None else allocation.memory_share
        return JobTruth(
            cpu_static_uj=round(share * SOCKETS * self.node.idle_mw * allocation.seconds * 1000),
            cpu_dynamic_uj=sum(cpu_ns) * self.node.busy_mw // PJ_PER_UJ,
            dram_static_uj=round(memory_share * SOCKETS * self.node.dram_idle_mw * allocation.seconds * 1000),
            dram_dynamic_uj=sum(run["dram_uj"] for run in runs.values()),
            cpu_seconds=tuple(ns / 1e9 for ns in cpu_ns),
        )

    def energy_uj(self, start: float, end: float) -> dict[str, int]:
        """Zone or device -> microjoules that the counters counted between two wall-clock times."""
        first, last = self.at(start), self.at(end)
        return {zone: last[zone] - first[zone] for zone in last}

    def at(self, wall: float) -> dict[str, int]:
        """Energies at a time, on a straight line between the two records around it."""
        after = next((i for i, r in enumerate(self.node_records) if r["wall"] >= wall), len(self.node_records) - 1)
        a, b = self.node_records[max(0, after - 1)], self.node_records[after]
        span = b["wall"] - a["wall"]
        part = min(1.0, max(0.0, (wall - a["wall"]) / span)) if span else 1.0
        return {z: uj + round(part * (b["energy_uj"][z] - uj)) for z, uj in a["energy_uj"].items()}
