# SPDX-License-Identifier: MIT
"""Finds the memory that each job used in an interval, and what was used outside the jobs. Pure.

A cgroup without the memory controller shows no use. What is used on the node beyond the other jobs and the system's
least need is then divided among the jobs whose use is not shown, by what each holds. So are huge pages in use that no
cgroup shows, because Slurm does not enable their controller.
"""

from __future__ import annotations

from ..apportion import apportion
from ..lean.typing import TYPE_CHECKING, NamedTuple
from .cpu_time import MILLI, NEGLIGIBLE

if TYPE_CHECKING:
    from .cpu_time import Presence
    from .ledger import Ledger
    from .snapshot import Snapshot


class MemoryUse(NamedTuple):
    """Bytes that each job used, bytes that were used outside the jobs, and whether a job's use is not shown."""

    used: list[int]
    outside: int
    unseen: list[bool]


def memory_use(ledgers: list[Ledger], jobs: list[Presence], now: Snapshot, base: int | None, cpus: int) -> MemoryUse:
    """Return the memory in use on a node of so many CPUs.

    `base`: bytes that the system itself needs, `None` before that was seen; nothing is known until then to be used
    outside the jobs.
    """
    shown = [_shown(job, now) for job in jobs]
    used = [each or 0 for each in shown]
    unseen = [each is None or now.huge_unseen > sum(used) // NEGLIGIBLE for each in shown]
    rest = 0 if now.memory is None else max(0, now.memory - sum(used) - (base or 0))
    if not any(unseen):
        return MemoryUse(used, 0 if base is None else rest, unseen)
    held = [_held(ledger, job, now.memory_total, cpus) if new else 0 for ledger, job, new in zip(ledgers, jobs, unseen)]
    hidden = max(now.huge_unseen, rest if any(each is None for each in shown) else 0)
    parts = apportion(hidden, held) if hidden and any(held) else held
    return MemoryUse([own + part for own, part in zip(used, parts)], max(0, rest - hidden), unseen)


def _shown(job: Presence, now: Snapshot) -> int | None:
    """Return the bytes that a job's cgroup shows, or showed last; 0 for a job without one, `None` if they are not shown."""
    if job.usage is not None and (job.usage.memory or job.before is None):
        return job.usage.memory
    if job.before is not None:
        return job.before.memory
    return None if now.parent is None else 0


def _held(ledger: Ledger, job: Presence, total: int, cpus: int) -> int:
    """Return the bytes that a job was given: its limit, without one its share of the CPUs."""
    if ledger.memory is not None and 0 < ledger.memory < total:
        return ledger.memory
    return total * sum(job.held.values()) // max(1, MILLI * cpus)
