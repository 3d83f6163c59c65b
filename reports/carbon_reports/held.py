# SPDX-License-Identifier: MIT
"""Sums the runs of a period by how they ended and by what they held: the energy that no result came of, and core-hours.

The database has a row for each state and TRES text, not for each run. Only runs with energy count, so that ratios have
the same runs above and below.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import case, func, select

from carbon_acct.db.exact_sum import SPLIT
from carbon_acct.db.models import Job, JobDay
from carbon_acct.db.rows import ask
from carbon_acct.window import FOREVER

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from .scope import Scope

FAILED = {
    "FAILED": ("FAILED", "NODE_FAIL", "BOOT_FAIL"),
    "TIMEOUT": ("TIMEOUT", "DEADLINE"),
    "OUT_OF_MEMORY": ("OUT_OF_MEMORY",),
    "CANCELLED": ("CANCELLED",),
}
"""The rules of waste, by Slurm's states (sacct(1), JOB STATE CODES)."""

_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d+)")
_CPUS = re.compile(r"(?:^|,)cpu=(\d+)")


class Wasted(NamedTuple):
    """The runs that a rule names: how many, their energy in microjoules and carbon in micrograms."""

    rule: str
    jobs: int
    used_uj: int
    carbon_ug: int


@dataclass
class Load:
    """Runs and what they held in seconds of CPUs, GPUs or nodes, with their energy and carbon."""

    seconds: int = 0
    used_uj: int = 0
    carbon_ug: int = 0

    def add(self, seconds: int, used_uj: int, carbon_ug: int) -> None:
        """Add runs."""
        self.seconds += seconds
        self.used_uj += used_uj
        self.carbon_ug += carbon_ug


@dataclass(frozen=True)
class Held:
    """What the runs with energy held: `cores` of those without a GPU, `gpus` of those with one, `nodes` of all.

    `silent`: the runs among them of which a node delivered nothing.
    """

    cores: Load
    gpus: Load
    nodes: Load
    wasted: list[Wasted]
    silent: int

    @property
    def wasted_uj(self) -> int:
        """Return the energy of all rules. A run has one state, so none is there twice."""
        return sum(each.used_uj for each in self.wasted)


def held(session: Session, scope: Scope) -> Held:
    """Return what the runs of the period held, and what was wasted."""
    cores, gpus, nodes, silent = Load(), Load(), Load(), 0
    jobs, used, carbon = Counter[str](), Counter[str](), Counter[str]()
    rules = {state: rule for rule, states in FAILED.items() for state in states}
    for state, tres, *numbers in ask(session, _query(scope), {}):
        count, unmetered, seconds, node_s, *sums = map(int, numbers)
        used_uj, carbon_ug = sums[0] * SPLIT + sums[1], sums[2] * SPLIT + sums[3]
        nodes.add(node_s, used_uj, carbon_ug)
        gpu_s = seconds * _count(_GPUS, tres)
        if gpu_s:
            gpus.add(gpu_s, used_uj, carbon_ug)
        else:
            cores.add(seconds * _count(_CPUS, tres), used_uj, carbon_ug)
        silent += unmetered
        rule = rules.get(state.split(" ")[0])
        if rule:
            jobs[rule] += count
            used[rule] += used_uj
            carbon[rule] += carbon_ug
    wasted = [Wasted(rule, jobs[rule], used[rule], carbon[rule]) for rule in FAILED if jobs[rule]]
    return Held(cores, gpus, nodes, wasted, silent)


def _query(scope: Scope) -> Any:
    used = func.coalesce(JobDay.energy_uj, 0) + func.coalesce(JobDay.estimated_uj, 0)
    known = (JobDay.energy_uj.is_not(None)) | (JobDay.estimated_uj.is_not(None))
    days = select(JobDay.job_id, used.label("used"), func.coalesce(JobDay.carbon_ug, 0).label("ug"))
    day = days.where(scope.days(), known).limit(FOREVER).subquery().c
    sums = [func.sum(part) for part in (day.used // SPLIT, day.used % SPLIT, day.ug // SPLIT, day.ug % SPLIT)]
    run = select(day.job_id, *(each.label(f"s{at}") for at, each in enumerate(sums))).group_by(day.job_id).subquery().c
    seconds = scope.run_seconds()
    silent = func.sum(case((Job.unmetered_nodes > 0, 1), else_=0))
    each = select(Job.state, Job.alloc_tres, func.count(), silent, func.sum(seconds), func.sum(scope.node_seconds()))
    each = each.add_columns(*(func.sum(getattr(run, f"s{at}")) for at in range(4)))
    return each.join_from(Job, run.job_id.table, run.job_id == Job.id).group_by(Job.state, Job.alloc_tres)


def _count(pattern: re.Pattern[str], tres: str | None) -> int:
    match = pattern.search(tres or "")
    return int(match[1]) if match else 0
