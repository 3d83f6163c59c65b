# SPDX-License-Identifier: MIT
"""Defines a snapshot: everything that a node shows at one instant. Two snapshots make an interval. No I/O."""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..meters.base import Reading
from ..usage import Usage, load_usage, save_usage

if TYPE_CHECKING:
    from typing import Any


class Snapshot(NamedTuple):
    """The counters of the node at one instant.

    `wall_us`, `mono_us`: the instant by both clocks; `boot_id`: the boot that the counters belong to; `readings`: by
    domain; `busy`: CPU microseconds since boot by socket; `memory`: bytes in use, `None` where unknown, and
    `memory_total` bytes installed, 0 where unknown; `huge_unseen`: bytes of huge pages in use that no cgroup shows; `parent`: the cgroup above the jobs; `jobs`: each job's cgroup by
    its name; `activity`: what was done on a shared device since the snapshot before, by domain and then by UUID of the
    part or name of the job's cgroup. `busy_cpus`: CPU microseconds by CPU; `ended`: what the cgroups of jobs that have
    vanished since the snapshot before showed last, if that was seen; `has_parent`: whether there is
    a cgroup above the jobs, readable or not; `unaccounted`: the names of jobs that have cgroups, but none that accounts for
    CPU time. None of these is kept on disk.
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
    memory_total: int = 0
    huge_unseen: int = 0
    busy_cpus: dict[int, int] | None = None
    ended: dict[str, Usage] | None = None
    has_parent: bool = True
    unaccounted: frozenset[str] = frozenset()

    def save(self) -> dict[str, Any]:
        """Return what the state on disk needs; the usage of jobs is in their ledgers."""
        readings = {name: reading.energy_uj for name, reading in self.readings.items()}
        clocks = {"wall_us": self.wall_us, "mono_us": self.mono_us, "boot_id": self.boot_id}
        return {
            **clocks,
            "readings": readings,
            "busy": self.busy,
            "memory": self.memory,
            "parent": save_usage(self.parent),
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Snapshot:
        """Return the snapshot that `save` saved."""
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
