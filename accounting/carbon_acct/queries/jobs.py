# SPDX-License-Identifier: MIT
"""Answers what jobs consumed and emitted: it reads the sums and never computes them anew.

It is used by the HTTP API and, as a library, by the reports. Who may see what is decided by the caller:
`Filters.viewer`.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.days import Days, zone_info
from carbon_acct.db import meta
from carbon_acct.db.models import FactorSource
from carbon_acct.known import sum_known
from carbon_acct.queries import job_sums
from carbon_acct.queries.job_filter import SLURM_COLUMNS, Filters, find_page, find_runs
from carbon_acct.queries.job_sums import JobSums
from carbon_acct.queries.quality import ComponentState, Verdict, judge
from carbon_acct.slurm.client import leader_of
from carbon_acct.slurm.matching import RESIZED
from carbon_acct.window import Window, inside
from carbon_collector.meters.base import COMPONENTS


class FoundJob(Protocol):
    """A row of SHOWN, by the names that are used of it here."""

    id: int
    state: str
    start: int | None
    end: int | None
    unmetered_us: int
    unmetered_nodes: int

    def __iter__(self) -> Iterator[Any]:
        """Yield the columns in their order."""


@dataclass  # not frozen: that makes one in 3 us instead of 0.7, and there is one for each line of an answer
class JobRecord:
    """A run of a job with its energy and carbon: the keys and units of docs/http-api.md. None means not known."""

    job_id: str
    job_id_raw: int
    name: str
    user: str | None
    uid: int | None
    account: str | None
    partition: str | None
    qos: str | None
    cluster: str
    state: str
    exit_code: str | None
    restarts: int | None
    submit: int
    start: int | None
    end: int | None
    elapsed_s: int | None
    nnodes: int | None
    ncpus: int | None
    alloc_tres: str | None
    nodelist: str | None
    group: str | None
    gid: int | None
    eligible: int | None
    timelimit_s: int | None
    req_cpus: int | None
    req_nodes: int | None
    req_tres: str | None
    reason: str | None
    comment: str | None
    workdir: str | None
    derived_exit_code: str | None
    suspended_s: int | None
    cpu_us: int | None
    core_us: int | None
    gpu_us: int | None
    gpu_idle_uj: int | None
    cpu_unused_uj: int | None
    energy_uj: int | None
    cpu_uj: int | None
    dram_uj: int | None
    gpu_uj: int | None
    other_uj: int | None
    static_uj: int | None
    estimated_uj: int | None
    facility_uj: int | None
    pue: float | None
    carbon_ug: int | None
    carbon_market_ug: int | None
    embodied_ug: int | None
    upstream_ug: int | None
    td_ug: int | None
    intensity_g_per_kwh: float | None
    intensity_source: str | None
    zone: str | None
    coverage: float | None
    quality: str
    notes: tuple[str, ...]
    simulated: bool


def list_jobs(session: Session, filters: Filters) -> list[JobRecord]:
    """Return runs of jobs with their energy, sorted by cluster, JobIDRaw and submit time. Raises ValueError on a bad
    filter.
    """
    return _placed(records_of(session, find_runs(session, filters), filters, int(time.time())))


def list_page(session: Session, filters: Filters) -> tuple[list[JobRecord], tuple[str, int] | None]:
    """Return a page of them, and what the next page comes after (`Filters.after`); None: this is the last."""
    found = find_page(session, filters)
    return _placed(records_of(session, found.rows, filters, int(time.time()))), found.next


def records_of(session: Session, jobs: Iterable[FoundJob], filters: Filters, now: int) -> list[JobRecord]:
    """Return the records of runs that were found, in their order, with the columns of SHOWN, at the time `now`."""
    found = {job.id: job for job in jobs}
    days = Days(zone_info(meta.get(session, meta.TIMEZONE) or "UTC"))
    window = filters.window if filters.truncate else Window()
    parts: dict[int, list[JobSums]] = defaultdict(list)
    for job_id, sums in job_sums.read(session, found, window, days):
        parts[job_id].append(sums)
    notes = job_sums.notes_of_cut_days(session, found, window, days)
    names = _names(session)
    shown = []
    for job_id, job in found.items():
        job_parts = parts.pop(job_id, [])
        sums = job_parts[0] if len(job_parts) == 1 else job_sums.total(job_parts)
        texts = [part.notes for part in job_parts if part.notes]
        shown.append(_record(job, sums, texts + notes.get(job_id, []), names, filters, now))
    return shown


def _placed(records: list[JobRecord]) -> list[JobRecord]:
    return sorted(records, key=_place)


def _place(record: JobRecord) -> tuple[str, int, int, int, int]:
    """Return where a record stands: by cluster and array, heterogeneous job or job; tasks and components in order. The
    last task of an array has the array's own number, so JobIDRaw is not their order.
    """
    part = record.job_id.replace("+", "_").partition("_")[2]
    leader = leader_of(record.job_id, record.job_id_raw)
    return record.cluster, leader, int(part) if part.isdecimal() else 0, record.job_id_raw, record.submit


SourceNames = Callable[[str], tuple[str | None, str | None]]


def _names(session: Session) -> SourceNames:
    """Return a function from the ids of factor sources to their texts and zones, as people see them."""
    known = {str(row.id): row for row in session.scalars(select(FactorSource))}

    @lru_cache
    def names(ids: str) -> tuple[str | None, str | None]:
        sources = [known[source] for source in ids.split(",")]
        return _joined(source.text for source in sources), _joined(source.zone for source in sources)

    return names


def _record(
    job: FoundJob, sums: JobSums, notes: Sequence[str], names: SourceNames, filters: Filters, now: int
) -> JobRecord:
    """Return the record of a run. `notes` are JSON lists."""
    slurm: dict[str, Any] = dict(zip(SLURM_COLUMNS, job, strict=False))  # the columns that follow are not Slurm's
    if filters.truncate:
        slurm["elapsed_s"] = inside(job.start, job.end, now, filters.window)
    verdict = judge(_states(sums), *_unmetered(job, filters, now))
    used = sum_known((sums.energy_uj, sums.estimated_uj))
    source, zone = (None, None) if used is None else names(sums.sources)
    return JobRecord(
        **slurm,
        cpu_us=sums.cpu_us,
        core_us=sums.core_us,
        gpu_us=sums.gpu_us,
        gpu_idle_uj=sums.gpu_idle_uj,
        cpu_unused_uj=sums.cpu_unused_uj,
        energy_uj=sums.energy_uj,
        cpu_uj=sums.cpu_uj,
        dram_uj=sums.dram_uj,
        gpu_uj=sums.gpu_uj,
        other_uj=sums.other_uj,
        static_uj=sum_known((sums.cpu_static_uj, sums.dram_static_uj, sums.gpu_static_uj, sums.other_static_uj)),
        estimated_uj=sums.estimated_uj,
        facility_uj=sums.facility_uj,
        pue=_mean(sums.pue_weight, used),
        carbon_ug=sums.carbon_ug,
        carbon_market_ug=sums.market_ug,
        embodied_ug=sums.embodied_ug,
        upstream_ug=sums.upstream_ug,
        td_ug=sums.td_ug,
        intensity_g_per_kwh=_mean(sums.g_per_kwh_weight, used),
        intensity_source=source,
        zone=zone,
        coverage=verdict.coverage,
        quality=verdict.quality,
        notes=_shown_notes(job, verdict, notes),
        simulated=bool(sums.simulated),
    )


def _shown_notes(job: FoundJob, verdict: Verdict, texts: Sequence[str]) -> tuple[str, ...]:
    if job.state == RESIZED:
        return ("resized: the run's energy is with its newest record",)
    if verdict.quality == "measured":
        return ()
    notes = sorted({note for text in texts for note in json.loads(text)})
    return (*(note for note in verdict.notes if not _is_repeated(note, notes)), *notes)


def _mean(weight: float, used: int | None) -> float | None:
    """Return a mean weighted by energy. Doubles are exact enough for what is shown; the grams are calculated exactly
    elsewhere.
    """
    return round(weight / used, 9) if used else None


_PLACES = {
    c: tuple(JobSums._fields.index(f"{c}_{kind}") for kind in ("uj", "metered_us", "alloc_us", "method"))
    for c in COMPONENTS
}


def _states(sums: JobSums) -> dict[str, ComponentState]:
    """Return the components that any of the job's nodes reported. `shared` and `modelled` are the greatest methods in
    alphabetical order, so that a sum has them if any part of it has.
    """
    values: tuple[Any, ...] = sums
    return {
        c: ComponentState(values[uj], values[metered] or 0, values[alloc] or 0, values[method])
        for c, (uj, metered, alloc, method) in _PLACES.items()
        if values[method] is not None
    }


def _unmetered(job: FoundJob, filters: Filters, now: int) -> tuple[int, int]:
    """Return the node-time without rows and the number of nodes without rows, in the window by its share of the time."""
    if not filters.truncate or not job.unmetered_us:
        return job.unmetered_us, job.unmetered_nodes
    whole = inside(job.start, job.end, now, Window())
    return job.unmetered_us * inside(job.start, job.end, now, filters.window) // max(whole, 1), job.unmetered_nodes


def _is_repeated(note: str, notes: Sequence[str]) -> bool:
    """Return whether a note says nothing beside the others: `dram: not metered` beside `dram: energy_uj: permission denied`."""
    component, _, rest = note.partition(": ")
    return rest in ("not metered", "shared") and any(n.startswith(f"{component}: ") for n in notes)


def _joined(texts: Iterable[str]) -> str | None:
    return "; ".join(sorted(set(texts))) or None
