# SPDX-License-Identifier: MIT
"""Sums what the runs of a period held: CPUs, GPUs and nodes over time, with the energy of the runs that held them.

The database has a row for each TRES text of runs with GPUs, and one for all others. Only runs with energy count, so
that ratios have the same runs above and below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, literal, or_, select

from carbon_acct.db.exact_sum import SPLIT, exact_whole
from carbon_acct.db.models import Job, JobDay
from carbon_acct.db.rows import ask
from carbon_acct.window import FOREVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from .scope import Scope

GPU_TRES = "gres/gpu="
_GPUS = re.compile(rf"(?:^|,){GPU_TRES}(\d+)")

_USED_UJ = func.coalesce(JobDay.energy_uj, 0) + func.coalesce(JobDay.estimated_uj, 0)
_IS_KNOWN = or_(JobDay.energy_uj.is_not(None), JobDay.estimated_uj.is_not(None))
OF_DAY = {"known": case((_IS_KNOWN, _USED_UJ)), "ug": case((_IS_KNOWN, func.coalesce(JobDay.carbon_ug, 0)))}
"""The columns of a day of a run from which `of_run` adds up: microjoules, measured and estimated, and micrograms."""

TRES = case((Job.alloc_tres.like(f"%{GPU_TRES}%"), Job.alloc_tres), else_=literal(""))
"""What a run with GPUs held, by which the database has to group: the number of GPUs stands in a text."""


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


@dataclass
class Held:
    """What the runs with energy held: `cores` of those without a GPU, `gpus` of those with one, `nodes` of all.

    `silent`: the runs among them of which a node delivered nothing.
    """

    cores: Load = field(default_factory=Load)
    gpus: Load = field(default_factory=Load)
    nodes: Load = field(default_factory=Load)
    silent: int = 0

    def add(self, tres: str, sums: Sequence[Any]) -> None:
        """Add runs with the same TRES, given as a row of `sums_of`."""
        node_s, run_s, core_s, silent = (int(value or 0) for value in sums[:4])
        used_uj, carbon_ug = exact_whole(sums[4:6]) or 0, exact_whole(sums[6:8]) or 0
        self.nodes.add(node_s, used_uj, carbon_ug)
        match = _GPUS.search(tres)
        if match and int(match[1]):
            self.gpus.add(run_s * int(match[1]), used_uj, carbon_ug)
        else:
            self.cores.add(core_s, used_uj, carbon_ug)
        self.silent += silent


def of_run(day: Any) -> dict[str, ColumnElement[Any]]:
    """Return the sums of a run's days, each as quotient and remainder. They are NULL where no energy is known."""
    return {
        "high": func.sum(day.known // SPLIT),
        "low": func.sum(day.known % SPLIT),
        "ug_high": func.sum(day.ug // SPLIT),
        "ug_low": func.sum(day.ug % SPLIT),
    }


def sums_of(scope: Scope, run: Any) -> list[ColumnElement[Any]]:
    """Return the sums that `Held.add` takes. `run` has the columns of `of_run`, beside Job."""
    seconds = scope.run_seconds()
    amounts = (
        scope.node_seconds(),
        seconds,
        seconds * func.coalesce(Job.ncpus, 0),
        case((Job.unmetered_nodes > 0, 1), else_=0),
    )
    known = (func.sum(case((run.high.is_not(None), amount), else_=0)) for amount in amounts)
    return [*known, *(func.sum(getattr(run, name)) for name in ("high", "low", "ug_high", "ug_low"))]


def held(session: Session, scope: Scope) -> Held:
    """Return what the runs of a period held."""
    days = select(JobDay.job_id, *(value.label(name) for name, value in OF_DAY.items())).where(scope.days(), _IS_KNOWN)
    day = days.limit(FOREVER).subquery().c
    sums = (value.label(name) for name, value in of_run(day).items())
    run = select(day.job_id, *sums).group_by(day.job_id).subquery()
    query = select(TRES.label("tres"), *sums_of(scope, run.c)).join_from(Job, run, run.c.job_id == Job.id)
    found = Held()
    for tres, *parts in ask(session, query.group_by("tres"), {}):
        found.add(tres, parts)
    return found
