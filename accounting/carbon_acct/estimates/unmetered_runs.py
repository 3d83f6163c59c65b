# SPDX-License-Identifier: MIT
"""Finds, in the database, the unmeasured time of ended runs and what its energy can be estimated from.

The result depends on the stored rows only: asked again it is the same, and it is empty once the missing rows have
arrived. Runs that have not ended are left alone, because their rows may be on their way. An estimate from other jobs
uses what is known of them now, within bounds: the newest measured jobs of the partition in the month before.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import BindParameter, Integer, bindparam, cast, func, select
from sqlalchemy.orm import Session

from carbon_acct.db import meta
from carbon_acct.db.exact_sum import exact_named, exact_of
from carbon_acct.db.models import COUNTED, Job, JobDay, Ledger, NodeJobSlot
from carbon_acct.db.row_types import DeliveredRow, EndedJobRow, MeasuredJobRow
from carbon_acct.db.rows import ask, chunks
from carbon_acct.estimates.arithmetic import (
    LONGEST_RUN_S,
    Basis,
    Estimate,
    Held,
    Power,
    estimates,
    unmetered_run,
    within_run,
)
from carbon_acct.estimates.hardware import Hardware, gpus_of, unpriced
from carbon_acct.slurm.matching import LATE_SOURCES, RESIZED
from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import DAY_S

HISTORY_DAYS = 30
HISTORY_JOBS = 1000


def estimate_unmetered(
    session: Session, job_ids: Collection[int], hardware: Hardware | None
) -> dict[tuple[int, int], Estimate]:
    """Return the estimate of each (job, slot) of these jobs (`job.id`) that have ended.

    With `hardware` None the site wants no estimates, and the result is empty.
    """
    if hardware is None:
        return {}
    since = meta.delivered_from(session)
    history = _History(session)
    found: dict[tuple[int, int], Estimate] = {}
    for part in chunks(sorted(job_ids)):
        jobs = ask(session, _JOBS, {"ids": part})
        rows: dict[int, list[DeliveredRow]] = defaultdict(list)
        for row in session.execute(_ROWS, {"ids": [job.id for job in jobs]}):
            rows[row.matched_id].append(row)
        for job in jobs:
            for slot, estimate in _of_run(job, rows[job.id], history, hardware).items():
                if slot >= since:
                    found[job.id, slot] = estimate
    return found


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_JOBS = select(
    *(Job.id, Job.cluster_id, Job.partition, Job.start, Job.end, Job.state, Job.nnodes, Job.ncpus, Job.alloc_tres),
    Job.elapsed_s,
).where(
    *(Job.id.in_(_IDS), Job.unmetered_us > 0, Job.start.is_not(None), Job.end.is_not(None), Job.state != RESIZED),
    Job.end - Job.start <= LONGEST_RUN_S,
)
_ROWS = (
    select(
        *(Ledger.matched_id, Ledger.node_id, Ledger.opened, Ledger.closed, Ledger.source),
        *(Ledger.cpus, Ledger.node_cpus, Ledger.gpus, NodeJobSlot.slot, NodeJobSlot.alloc_us, NodeJobSlot.simulated),
        *(getattr(NodeJobSlot, f"{c}_{kind}") for c in COMPONENTS for kind in ("uj", "metered_us", "method")),
    )
    .join(NodeJobSlot, NodeJobSlot.ledger_id == Ledger.id)
    .where(Ledger.matched_id.in_(_IDS))
    .order_by(Ledger.id, NodeJobSlot.slot)
)


def _of_run(job: EndedJobRow, rows: list[DeliveredRow], history: _History, hardware: Hardware) -> dict[int, Estimate]:
    by_node: dict[int, list[DeliveredRow]] = defaultdict(list)
    for row in rows:
        by_node[row.node_id].append(row)
    run = unmetered_run([*(_held_with_rows(job, many) for many in by_node.values()), *_held_without_rows(job, by_node)])
    if not run.slots:
        return {}
    text = "the job's other nodes" if run.without_rows else "the rest of the job"
    measured = Basis("job", text, *_measured(job, rows))
    wanted = {"cpu", *(("gpu",) if any(gap.gpu_us for gap in run.slots.values()) else ())}
    bases = [measured]
    if not wanted <= measured.power.keys():
        node_cpus = max((row.node_cpus for row in rows if row.node_cpus), default=None)
        bases += [history.basis(job), hardware.basis(node_cpus, job.alloc_tres or "")]
    without = [unpriced(job.alloc_tres or "")] if run.without_rows else []
    without += [f"{_suspended_s(job)} s suspended"] if run.without_rows and _suspended_s(job) else []
    return estimates(run, job.nnodes or 1, bases, ", ".join(filter(None, without)))


def _held_with_rows(job: EndedJobRow, rows: list[DeliveredRow]) -> Held:
    """Return a node that has rows, with times as sums.unmetered counts them."""
    opened, closed = min(row.opened for row in rows), [row.closed for row in rows if row.closed is not None]
    late = all(row.source in LATE_SOURCES for row in rows)
    end = job.end if len(closed) < len(rows) or job.state == "NODE_FAIL" else max(closed)
    covered_us: dict[int, int] = defaultdict(int)
    for row in rows:
        covered_us[row.slot] += row.alloc_us
    begin = min(opened, job.start) if late else opened
    begin, end = within_run(begin, end, job.start, job.end, min(row.slot for row in rows))
    return Held(begin, end, _cpus(job, rows[0]), _gpus(rows[0]), covered_us)


def _held_without_rows(job: EndedJobRow, by_node: dict[int, list[DeliveredRow]]) -> list[Held]:
    """Return the nodes without any row, with the CPUs and GPUs of the job that the other nodes do not hold."""
    nodes = max(0, (job.nnodes or 0) - len(by_node))
    if not nodes:
        return []
    first_rows = [rows[0] for rows in by_node.values()]
    cpus = (job.ncpus or 0) - sum(_cpus(job, row) for row in first_rows)
    gpus = max(0, gpus_of(job.alloc_tres or "") - sum(_gpus(row) for row in first_rows))
    # `cpus` and `gpus` are of all of them together, so one Held stands for them.
    return [
        Held(job.start, job.end, cpus if cpus > 0 else nodes * _cpus_a_node(job), gpus, None, nodes, _suspended_s(job))
    ]


def _suspended_s(job: EndedJobRow) -> int:
    """Return the seconds that a run was suspended: Slurm's elapsed time leaves them out."""
    return max(0, job.end - job.start - job.elapsed_s) if job.elapsed_s is not None else 0


def _cpus(job: EndedJobRow, row: DeliveredRow) -> int:
    return row.cpus or _cpus_a_node(job)


def _cpus_a_node(job: EndedJobRow) -> int:
    return max(1, (job.ncpus or 0) // max(1, job.nnodes or 1))


def _gpus(row: DeliveredRow) -> int:
    return len(json.loads(row.gpus or "[]"))


def _measured(job: EndedJobRow, rows: Iterable[DeliveredRow]) -> tuple[dict[str, Power], bool]:
    """Return the power of each component over all metered time of the run, and whether simulated counters had a part in
    it.
    """
    sums = {c: [0, 0] for c in COMPONENTS}
    simulated = False
    for row in rows:
        simulated |= row.simulated
        for c in COMPONENTS:
            energy_uj, metered_us = getattr(row, f"{c}_uj"), getattr(row, f"{c}_metered_us") or 0
            if getattr(row, f"{c}_method") in COUNTED and energy_uj is not None:
                sums[c][0] += energy_uj
                sums[c][1] += min(metered_us, row.alloc_us) * (_gpus(row) if c == "gpu" else _cpus(job, row))
    return _powers(sums), simulated


def _powers(sums: dict[str, list[int]]) -> dict[str, Power]:
    return {c: Power(energy_uj, unit_us) for c, (energy_uj, unit_us) in sums.items() if unit_us > 0}


class _History:
    """The mean power of measured jobs by partition and day. Each is queried once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[tuple[int, str | None, int], Basis] = {}

    def basis(self, job: EndedJobRow) -> Basis:
        """Return the basis from the newest jobs of the partition that had ended before the day on which the job
        started.
        """
        day = job.start // DAY_S * DAY_S
        key = (job.cluster_id, job.partition, day)
        if key not in self._known:
            self._known[key] = self._ask(*key)
        return self._known[key]

    def _ask(self, cluster_id: int, partition: str | None, day: int) -> Basis:
        asked = {"cluster": cluster_id, "partition": partition, "since": day - HISTORY_DAYS * DAY_S, "day": day}
        jobs: dict[int, MeasuredJobRow] = {job.id: job for job in self._session.execute(_MEASURED_JOBS, asked)}
        sums = {c: [0, 0] for c in COMPONENTS}
        simulated = False
        for part in chunks(sorted(jobs)):
            for row in self._session.execute(_TOTALS, {"ids": part}):
                simulated |= bool(row.simulated)
                for c in COMPONENTS:
                    _add(sums[c], jobs[row.job_id], c, row)
        text = f"the partition's history (jobs measured in {partition} in the {HISTORY_DAYS} days before: {len(jobs)})"
        return Basis("partition", text, _powers(sums), simulated)


def _add(total: list[int], job: MeasuredJobRow, component: str, row: Any) -> None:
    energy_uj, metered_us = exact_of(row, f"{component}_uj"), int(getattr(row, f"{component}_metered_us") or 0)
    units = gpus_of(job.alloc_tres or "") if component == "gpu" else job.ncpus
    if energy_uj is not None and units:
        total[0] += energy_uj
        total[1] += metered_us * units // job.nnodes


_MEASURED_JOBS = (
    select(Job.id, Job.nnodes, Job.ncpus, Job.alloc_tres)
    .where(
        Job.cluster_id == bindparam("cluster"),
        Job.partition == bindparam("partition"),
        Job.end >= bindparam("since"),
        Job.end < bindparam("day"),
        Job.unmetered_us == 0,
        Job.nnodes > 0,
        Job.ncpus > 0,
    )
    .order_by(Job.end.desc(), Job.id.desc())
    .limit(HISTORY_JOBS)
)
_TOTALS = (
    select(
        JobDay.job_id,
        func.max(cast(JobDay.simulated, Integer)).label("simulated"),
        *exact_named(JobDay, [f"{c}_uj" for c in COMPONENTS]),
        *(func.sum(getattr(JobDay, f"{c}_metered_us")).label(f"{c}_metered_us") for c in COMPONENTS),
    )
    .where(JobDay.job_id.in_(_IDS))
    .group_by(JobDay.job_id)
)
