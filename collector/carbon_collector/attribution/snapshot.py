# SPDX-License-Identifier: MIT
"""A snapshot: everything a node shows at one instant. Two of them make an interval."""

from __future__ import annotations

import time

from ..cgroups import Usage
from ..lean.named import TYPE_CHECKING, NamedTuple
from ..meters.base import Reading
from .ledger import load_usage

if TYPE_CHECKING:
    from typing import Any


class Clock(NamedTuple):
    """Both clocks in microseconds, read together."""

    wall_us: int
    mono_us: int


def read_clock() -> Clock:
    """Now. The monotonic clock goes on over a restart of the collector, not over one of the node."""
    return Clock(time.time_ns() // 1000, time.monotonic_ns() // 1000)


class Snapshot(NamedTuple):
    """Counters of the node at one instant.

    `wall_us`, `mono_us`: the instant by both clocks; `boot_id`: which boot the counters belong to; `readings`: by
    domain; `busy`: CPU microseconds by socket since boot; `memory`: bytes in use, `None` where unknown;
    `parent`: the cgroup above the jobs; `jobs`: each job's cgroup by its name; `activity`: what was done on a
    shared device since the snapshot before, by domain and then by UUID of the part or name of the job's cgroup.
    """

    wall_us: int
    mono_us: int
    boot_id: str
    readings: dict[str, Reading]
    busy: dict[int, int]
    memory: int | None
    parent: Usage | None
    jobs: dict[str, Usage]
    activity: dict[str, dict[str, int]]

    def save(self) -> dict[str, Any]:
        """For the state on disk; the jobs' own usage lies in their ledgers."""
        parent = None if self.parent is None else list(self.parent)
        readings = {name: reading.energy_uj for name, reading in self.readings.items()}
        clocks = {"wall_us": self.wall_us, "mono_us": self.mono_us, "boot_id": self.boot_id}
        return {**clocks, "readings": readings, "busy": self.busy, "memory": self.memory, "parent": parent}

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Snapshot:
        """From the state on disk."""
        return cls(
            wall_us=saved["wall_us"],
            mono_us=saved["mono_us"],
            boot_id=saved["boot_id"],
            readings={name: Reading(uj, "not read" if uj is None else "") for name, uj in saved["readings"].items()},
            busy={int(socket): us for socket, us in saved["busy"].items()},
            memory=saved["memory"],
            parent=load_usage(saved["parent"]),
            jobs={},
            activity={},
        )
