# SPDX-License-Identifier: MIT
"""Answers what an allocated CPU and GPU draws in a partition: over the caller's own jobs, else over the partition's.

Where jobs of others are private, the partition's figure needs enough jobs of enough users, and is given with two
digits, so that nobody's job can be told from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Integer, cast, func, select
from sqlalchemy.orm import Session

from carbon_acct.access.viewer import Viewer
from carbon_acct.db.exact_sum import exact_named, exact_of
from carbon_acct.db.models import Job, JobDay
from carbon_acct.db.rows import IDS, ask_ids
from carbon_acct.estimates.hardware import gpus_of
from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import DAY_S

DAYS = 30
MOST_JOBS = 1000
"""The newest jobs are taken."""
LEAST_JOBS, LEAST_USERS = 5, 3
"""Of the partition, where jobs of others are private."""
LEAST_S = 60
"""A shorter job says little about power."""


@dataclass(frozen=True)
class Power:
    """Joules per allocated CPU-second and GPU-second. None: no such job was measured, or none may be shown.

    `basis`: `own`, `partition`, or None where nothing may be said. `components`: the same of each component.
    """

    partition: str
    gres: str
    basis: str | None = None
    jobs: int = 0
    joules_per_cpu_second: float | None = None
    joules_per_gpu_second: float | None = None
    components: dict[str, float] = field(default_factory=dict)
    simulated: bool = False


def power(session: Session, viewer: Viewer, partition: str, gres: str, now: int) -> Power:
    """Return the power of measured jobs that ended in the last 30 days in a partition, with GPUs of a type ("": any)."""
    own = _jobs(session, partition, gres, now, viewer.user) if viewer.user else []
    if found := _power(session, own, partition, gres, "own"):
        return found
    everybody = _jobs(session, partition, gres, now, None)
    if not viewer.sees_all and (len(everybody) < LEAST_JOBS or len({job.user for job in everybody}) < LEAST_USERS):
        return Power(partition, gres)
    found = _power(session, everybody, partition, gres, "partition")
    return (found if viewer.sees_all else _blurred(found)) if found else Power(partition, gres)


def _jobs(session: Session, partition: str, gres: str, now: int, user: str | None) -> list[Any]:
    """The newest measured jobs; what GPUs they held is read here, since AllocTRES is a text."""
    query = select(Job.id, Job.user, Job.nnodes, Job.ncpus, Job.alloc_tres).where(
        Job.end >= now - DAYS * DAY_S,
        Job.partition == partition,
        Job.unmetered_us == 0,
        Job.nnodes > 0,
        Job.ncpus > 0,
        Job.elapsed_s >= LEAST_S,
        Job.start.is_not(None),
    )
    if user is not None:
        query = query.where(Job.user == user)
    if gres:
        query = query.where(Job.alloc_tres.contains(f"gres/gpu:{gres}=", autoescape=True))
    return list(session.execute(query.order_by(Job.end.desc(), Job.id.desc()).limit(MOST_JOBS)))


def _power(session: Session, jobs: Iterable[Any], partition: str, gres: str, basis: str) -> Power | None:
    """Return the power of an allocated CPU and GPU over these jobs, or None where nothing is known.

    The power of a component is its energy in microjoules over the microseconds of allocated units in its metered time,
    which is watts.
    """
    known = {job.id: job for job in jobs}
    sums = dict.fromkeys(COMPONENTS, (0, 0))
    simulated = False
    for row in ask_ids(session, _TOTALS, known):
        job = known[row.job_id]
        simulated |= bool(row.simulated)
        for c in COMPONENTS:
            units = gpus_of(job.alloc_tres or "") if c == "gpu" else job.ncpus
            uj, metered_us = exact_of(row, f"{c}_uj"), int(getattr(row, f"{c}_metered_us") or 0)
            if uj is not None and units and metered_us:
                energy, unit_us = sums[c]
                sums[c] = (energy + uj, unit_us + metered_us * units // job.nnodes)
    watts = {c: energy / unit_us for c, (energy, unit_us) in sums.items() if unit_us > 0}
    if not watts:
        return None
    of_cpus = [watts[c] for c in ("cpu", "dram", "other") if c in watts]
    return Power(
        partition=partition,
        gres=gres,
        basis=basis,
        jobs=len(known),
        joules_per_cpu_second=sum(of_cpus) if of_cpus else None,
        joules_per_gpu_second=watts.get("gpu"),
        components=watts,
        simulated=simulated,
    )


def _blurred(found: Power) -> Power:
    """Return the power with two digits, and without the number of jobs, so that no job can be told from it."""
    return Power(
        partition=found.partition,
        gres=found.gres,
        basis=found.basis,
        jobs=0,
        joules_per_cpu_second=_two_digits(found.joules_per_cpu_second),
        joules_per_gpu_second=_two_digits(found.joules_per_gpu_second),
        components={name: float(f"{value:.2g}") for name, value in found.components.items()},
        simulated=found.simulated,
    )


def _two_digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.2g}")


_TOTALS = (
    select(
        JobDay.job_id,
        func.max(cast(JobDay.simulated, Integer)).label("simulated"),
        *exact_named(JobDay, [f"{c}_uj" for c in COMPONENTS]),
        *(func.sum(getattr(JobDay, f"{c}_metered_us")).label(f"{c}_metered_us") for c in COMPONENTS),
    )
    .where(JobDay.job_id.in_(IDS))
    .group_by(JobDay.job_id)
)
