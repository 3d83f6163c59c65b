# SPDX-License-Identifier: MIT
"""Answers the energy of runs over time: slot by slot, so that the sum over the points is the energy of the run.

Nodes deliver a quarter of an hour at a time, and by minute where the site wants that ([collector] power_minutes). Where
slots have been folded (carbon-mgr prune) there are days. Power is the energy of a point over its time; it is left to the
reader, because energies add up exactly and watts do not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.days import Days, zone_info
from carbon_acct.db import meta
from carbon_acct.db.models import JobSlot
from carbon_acct.db.rows import IDS, ask_ids
from carbon_acct.queries import job_sums
from carbon_acct.queries.job_filter import Filters, find_page
from carbon_acct.queries.job_sums import JobSums
from carbon_acct.queries.points import Point, by_minute
from carbon_acct.sums import minutes
from carbon_acct.window import Window
from carbon_collector.units import SLOT_S

MOST_RUNS = 100
MOST_POINTS = 20_000


@dataclass(frozen=True)
class Series:
    """The points of a run by time. `step_s`: the seconds of most points: a slot's, or 60 where any slot is by minute."""

    job_id: str
    job_id_raw: int
    cluster: str
    submit: int
    start: int | None
    end: int | None
    step_s: int
    points: list[Point]


def power_series(session: Session, filters: Filters, now: int, finest: bool = False) -> list[Series]:
    """Return the series of the runs that are asked for and may be seen, as `GET /v1/jobs` finds them.

    `finest`: by minute where that is known, unless there would be too many points.
    Raises ValueError on a bad filter, and where there would be too many runs or points.
    """
    page = find_page(
        session, replace(filters, truncate=False, most=10 * MOST_RUNS)
    )  # with runs that were requeued since
    runs = page.rows
    if len(runs) > MOST_RUNS or page.next:
        raise ValueError(f"jobs: more than {MOST_RUNS} runs; ask for fewer")
    found = {run.id: run for run in runs}
    days = Days(zone_info(meta.get(session, meta.TIMEZONE) or "UTC"))
    slots_from = meta.slots_from(session)
    parts: dict[int, list[JobSums]] = defaultdict(list)
    for count, sums in enumerate(_parts(session, found, days, slots_from)):
        if count >= MOST_POINTS:
            raise ValueError(f"jobs: more than {MOST_POINTS} points; ask for fewer jobs")
        parts[sums.job_id].append(sums)
    texts = {}
    if finest:
        texts = {(job, slot): text for job, slot, text in ask_ids(session, _MINUTES, found, first=slots_from)}
        if sum(map(len, parts.values())) + len(texts) * (minutes.COUNT - 1) > MOST_POINTS:
            texts = {}
    return [_series(run, parts[run.id], texts, days, slots_from, now) for run in runs]


_MINUTES = select(JobSlot.job_id, JobSlot.slot, JobSlot.minutes).where(
    JobSlot.job_id.in_(IDS), JobSlot.slot >= bindparam("first"), JobSlot.minutes.is_not(None)
)


def _parts(session: Session, runs: dict[int, Any], days: Days, slots_from: int) -> Iterable[JobSums]:
    """Yield the slots of runs, and the days of which the slots are gone."""
    folded = 0
    if slots_from:
        border = days.start(slots_from)
        folded = border if border == slots_from else days.after(border)
        for _, sums in job_sums.read(session, runs, Window(0, folded), days):
            yield sums
    yield from job_sums.slots(session, runs, folded)


def _series(
    run: Any,
    parts: Iterable[JobSums],
    texts: Mapping[tuple[int, int], str],
    days: Days,
    slots_from: int,
    now: int,
) -> Series:
    points: list[Point] = []
    step_s = SLOT_S
    for sums in sorted(parts, key=lambda sums: sums.at):
        point = _point(run, sums, days, slots_from, now)
        text = texts.get((run.id, sums.at))
        points += [point] if text is None else by_minute(point, sums.at, minutes.unpacked(text))
        step_s = step_s if text is None else minutes.MINUTE_S
    return Series(run.job_id, run.job_id_raw, run.cluster, run.submit, run.start, run.end, step_s, points)


def _point(run: Any, sums: JobSums, days: Days, slots_from: int, now: int) -> Point:
    """Return a point: its slot or day, as far as the run was there. A node's clock may differ from Slurm's."""
    is_day = sums.at < slots_from
    first, last = sums.at, days.after(sums.at) if is_day else sums.at + SLOT_S
    end = run.end if run.end is not None else now
    low, high = max(first, run.start or first), min(last, end)
    if high <= low:
        low, high = first, last
    used = (sums.energy_uj or 0) + (sums.estimated_uj or 0)
    return Point(
        start=low,
        end=high,
        energy_uj=sums.energy_uj,
        cpu_uj=sums.cpu_uj,
        dram_uj=sums.dram_uj,
        gpu_uj=sums.gpu_uj,
        other_uj=sums.other_uj,
        estimated_uj=sums.estimated_uj,
        carbon_ug=sums.carbon_ug,
        intensity_g_per_kwh=round(sums.g_per_kwh_weight / used, 9) if used else None,
    )
