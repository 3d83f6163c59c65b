# SPDX-License-Identifier: MIT
"""Finds ledgers of jobs that have ended although no epilog said so. Pure.

The epilog of a job may never run: slurmd was killed, the node was set down, the job could not be ended. Such a ledger, a
ghost, would pay its share of the node for ever. Slurm gives a job's CPUs and GPUs to another only when the job has ended.
"""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..meters.base import WHOLE
from .ledger import CGROUP

if TYPE_CHECKING:
    from collections.abc import Container

    from .ledger import Ledger


class Ghost(NamedTuple):
    """A ledger that has ended, and the ledger of the job that has its CPUs or GPUs now."""

    ledger: Ledger
    heir: Ledger


def ghosts(ledgers: list[Ledger], cgroups: Container[str], cpus: int) -> list[Ghost]:
    """Return the ghosts among the open ledgers of a node with so many CPUs; `cgroups` are the names of those with
    a process.

    A ghost's cgroup was seen and is gone or empty, and a later job holds a GPU or a CPU of it, or more CPUs than the node has
    are held together with it; of several the oldest go first. A job whose cgroup was never seen is no ghost: it may
    only sit there (salloc without a step).
    """
    if not _is_held_twice(ledgers, cpus):
        return []  # as nearly always; what follows is quadratic
    found = []
    there = sorted(ledgers, key=lambda ledger: ledger.open_mono_us)
    over = sum(ledger.job.cpus or 0 for ledger in there) - cpus
    for ledger in there:
        if ledger.source == CGROUP or ledger.last is None or any(name in cgroups for name in ledger.cgroup_names):
            continue
        later = [one for one in there if one.open_mono_us > ledger.open_mono_us]
        heirs = [one for one in later if _takes_from(one, ledger)] or (later if over > 0 and ledger.job.cpus else [])
        if heirs:
            found.append(Ghost(ledger, heirs[0]))
            over -= ledger.job.cpus or 0
    return found


def _is_held_twice(ledgers: list[Ledger], cpus: int) -> bool:
    """Return whether more CPUs are held than there are, or a CPU or a whole device by two jobs."""
    if sum(ledger.job.cpus or 0 for ledger in ledgers) > cpus:
        return True
    devices = [name for ledger in ledgers for name, part in ledger.parts.items() if part >= WHOLE]
    own = [cpu for ledger in ledgers if len(ledger.cpuset) == ledger.job.cpus for cpu in ledger.cpuset]
    return len(set(devices)) < len(devices) or len(set(own)) < len(own)


def _takes_from(heir: Ledger, ledger: Ledger) -> bool:
    """Return whether a job holds a whole device that another held as a whole, or a CPU of those it was confined to."""
    devices = any(part >= WHOLE and heir.parts.get(name, 0) >= WHOLE for name, part in ledger.parts.items())
    both = 0 < len(ledger.cpuset) == ledger.job.cpus and 0 < len(heir.cpuset) == heir.job.cpus
    return devices or (both and not set(heir.cpuset).isdisjoint(ledger.cpuset))
