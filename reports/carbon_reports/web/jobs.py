# SPDX-License-Identifier: MIT
"""The views of jobs: those of a day, a page at a time, and one job, by the code behind GET /v1/jobs."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from carbon_acct.api.queries import after_of
from carbon_acct.errors import RefusedError
from carbon_acct.known import sum_known
from carbon_acct.queries.job_filter import state_name
from carbon_acct.queries.jobs import JobRecord, list_page
from carbon_acct.queries.period import epoch_of
from carbon_acct.window import Window
from carbon_collector.units import UJ_PER_KWH

from ..numbers import KG, NARROW_SPACE, UNKNOWN, carbon, covered, energy
from ..tables import column
from . import commands
from .parts import Cell, Fact, Head, Link, Table, View, href
from .sums import HOME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from carbon_acct.queries.job_filter import Filters

    from .asked import Asked

MOST = 100
"""The most jobs on a page."""
STATES = ("COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "RUNNING")
"""The states that have a link; an address may name any other."""
COMPONENTS = (("cpu_uj", "CPU"), ("dram_uj", "DRAM"), ("gpu_uj", "GPU"), ("other_uj", "other components"))


def of_day(session: Session, asked: Asked) -> View:
    """Return a page of the caller's jobs of a day, with the energy and carbon that lie in it."""
    day = asked.day()
    following = day + timedelta(days=1)
    state = asked.words.get("state", "")
    window = Window(epoch_of(day, asked.days), epoch_of(following, asked.days))
    filters = asked.own(
        window=window,
        truncate=True,
        states=[state] if state else [],
        most=MOST,
        after=after_of(asked.words.get("after", "")),
    )
    found, following_page = _listed(session, filters)
    beside = [_to_day(day - timedelta(days=1), "← {}")]
    if following <= asked.today():
        beside.append(_to_day(following, "{} →"))
    notes = [] if found else ["There are no jobs of yours here."]
    if following_page:
        cluster, job_id = following_page
        beside.append(
            Link("More jobs of this day →", href("day", day=f"{day}", state=state, after=f"{cluster}:{job_id}"))
        )
        notes.append(f"This page has {len(found)} jobs; the day has more. The command lists them all.")
    month = f"{day:%Y-%m}"
    return View(
        f"Your jobs of {day:%-d %B %Y}",
        commands.jobs_of_day(day, following, asked.days.zone.key, state),
        [Link("Your months", href(HOME, year=f"{day.year}")), Link(f"{day:%B %Y}", href("month", month=month))],
        beside,
        filters=_filters(day, state),
        table=_table(found, asked, "What lies inside the day counts.") if found else None,
        notes=notes,
        simulated=any(job.simulated for job in found),
    )


def one(session: Session, asked: Asked) -> View:
    """Return a job, or the tasks of an array or components of a job. Raises RefusedError 404 where the caller sees none,
    whether it exists or not.
    """
    job_id = asked.word("id")
    filters = asked.all(jobs=[job_id], window=Window(0, asked.now), most=MOST)
    found, _ = _listed(session, filters)
    if not found:
        raise RefusedError(404, "There is no such job that you may see.")
    trail = [Link("Your months", HOME)]
    title, command = f"Job {job_id}", commands.job(job_id)
    simulated = any(job.simulated for job in found)
    if len(found) > 1:
        table = _table(
            found, asked, f"The first {len(found)} parts of this job." if len(found) >= MOST else "Its parts."
        )
        return View(title, command, trail, table=table, simulated=simulated)
    job = found[0]
    if job.start is not None:
        day = datetime.fromtimestamp(job.start, asked.days.zone).date()
        trail.append(_to_day(day, "{}"))
    return View(title, command, trail, facts=_facts(job, asked), simulated=simulated)


def _listed(session: Session, filters: Filters) -> tuple[list[JobRecord], tuple[str, int] | None]:
    try:
        for state in filters.states:
            state_name(state)
        return list_page(session, filters)
    except ValueError as err:
        raise RefusedError(400, str(err)) from err


def _to_day(day: date, text: str) -> Link:
    return Link(text.format(f"{day:%-d %B %Y}"), href("day", day=f"{day}"))


def _filters(day: date, state: str) -> list[Link]:
    links = [Link("all states", href("day", day=f"{day}"), not state)]
    return links + [Link(name, href("day", day=f"{day}", state=name), name == state) for name in STATES]


def _used(job: JobRecord) -> int | None:
    return sum_known((job.energy_uj, job.estimated_uj))


def _table(jobs: Sequence[JobRecord], asked: Asked, says: str) -> Table:
    energies, carbons = [_used(job) for job in jobs], [job.carbon_ug for job in jobs]
    texts = zip(jobs, column(energies, UJ_PER_KWH), column(carbons, KG), strict=True)
    rows = [
        [
            Cell(job.job_id, href=href("job", id=job.job_id)),
            Cell(job.name, is_name=True),
            Cell(job.account or ""),
            Cell(job.state),
            Cell(_time(job.start, asked)),
            Cell(_elapsed(job.elapsed_s), number=True),
            Cell(kwh, _used(job), number=True),
            Cell(kg, job.carbon_ug, number=True),
            Cell(job.quality),
        ]
        for job, kwh, kg in texts
    ]
    heads = [Head(text) for text in ("JobID", "Name", "Account", "State", "Start")]
    heads += [Head(text, number=True) for text in ("Elapsed", "Energy, kWh", "kg CO₂e")]
    caption = f"Sorted by JobID. {says} Energy includes what was estimated. –: not known."
    return Table(caption, [*heads, Head("Quality")], rows)


def _facts(job: JobRecord, asked: Asked) -> list[Fact]:
    """Return what is known of a job. Nothing unknown is shown as 0."""
    who = [
        ("Name", job.name),
        ("User", job.user),
        ("Account", job.account),
        ("Partition", job.partition),
        ("QOS", job.qos),
    ]
    ran = [
        ("Cluster", job.cluster),
        ("State", job.state),
        ("Exit code", job.exit_code),
        ("Submitted", _time(job.submit, asked)),
        ("Started", _time(job.start, asked)),
        ("Ended", _time(job.end, asked)),
        ("Elapsed", _elapsed(job.elapsed_s)),
        ("Nodes", job.nodelist),
        ("Allocated", job.alloc_tres),
    ]
    facts = [Fact(term, text or UNKNOWN) for term, text in (*who, *ran)]
    facts.append(Fact("Energy", energy(job.energy_uj), job.energy_uj))
    parts = [(text, getattr(job, name)) for name, text in COMPONENTS]
    facts += [Fact(f"of it {text}", energy(uj), uj) for text, uj in parts if uj is not None]
    if job.estimated_uj is not None:
        facts.append(Fact("Energy, estimated beside it", energy(job.estimated_uj), job.estimated_uj))
    facts += [
        Fact("Facility energy", energy(job.facility_uj), job.facility_uj),
        Fact("PUE", UNKNOWN if job.pue is None else f"{job.pue:g}"),
        Fact("Carbon, location-based", _co2(job.carbon_ug), job.carbon_ug),
    ]
    others = [("Carbon, market-based", job.carbon_market_ug), ("Embodied", job.embodied_ug)]
    facts += [Fact(term, _co2(ug), ug) for term, ug in others if ug is not None]
    g_per_kwh = job.intensity_g_per_kwh
    return [
        *facts,
        Fact("Intensity", UNKNOWN if g_per_kwh is None else f"{g_per_kwh:.1f} g/kWh"),
        Fact("Intensity source", job.intensity_source or UNKNOWN),
        Fact("Quality", job.quality),
        Fact("Coverage", covered(job.coverage).replace(NARROW_SPACE, " ")),
        *[Fact("Note", note) for note in job.notes],
    ]


def _co2(ug: int | None) -> str:
    return carbon(ug) if ug is None else f"{carbon(ug)} CO₂e"


def _time(epoch: int | None, asked: Asked) -> str:
    return UNKNOWN if epoch is None else f"{datetime.fromtimestamp(epoch, asked.days.zone):%Y-%m-%d %H:%M:%S}"


def _elapsed(seconds: int | None) -> str:
    if seconds is None:
        return UNKNOWN
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
