# SPDX-License-Identifier: MIT
"""Reads what a month consisted of from the accounting database: sums, and of the runs only those that are shown.

Energy and carbon are those of the roll-ups; how many runs there were and how well they are known the database counts.
All of it is one state of the database, but for the runs that are shown and which factors were applied: they are
looked for in another thread, a little later. Whatever is counted or listed in full is of the one state.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select

from carbon_acct.db import meta
from carbon_acct.db.connect import is_sqlite, parse_urls
from carbon_acct.db.engine import open_database, url_of
from carbon_acct.db.models import Association, Cluster, FactorSource
from carbon_acct.db.rows import ask
from carbon_acct.errors import DatabaseError
from carbon_acct.factors.slot_factor import load_terms
from carbon_acct.queries import totals
from carbon_acct.queries.site_energy import SiteEnergy, site_energy

from . import run_counts, runs
from .scope import Scope
from .sums import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from sqlalchemy.orm import Session

    from carbon_acct.db.engine import Database
    from carbon_acct.queries.totals import Conservation, DayTotal
    from carbon_collector.settings import Settings

    from .month import Month
    from .run_counts import Found, Tally

NOBODY = "not known"

Job = dict[str, Any]
"""A run of a job with the keys of docs/http-api.md, cut to the month, and `owner` and `project` as labels."""


class Whose(NamedTuple):
    """Whom an association's runs are shown for."""

    cluster: str
    owner: str
    project: str


@dataclass(frozen=True)
class Most:
    """How many runs a page of the site shows, and one of an owner or a project; 0: no page is written."""

    site: int
    part: int


@dataclass(frozen=True)
class MonthFacts:
    """Everything a report is made of, but for a list of all runs.

    `shown`: the runs with the most energy, of the site (""), of each owner and of each project. `sources`, `zones` and
    `pue`: what was applied to the runs. `conservation`: the nodes' meters and where their energy went; `energy`: what
    that emitted.
    """

    parts: list[Part]
    shown: Shown
    clusters: list[str]
    sources: list[str]
    zones: list[str]
    pue: list[str]
    conservation: Conservation
    energy: SiteEnergy


class Applied(NamedTuple):
    """Sources of intensities, zones and PUE."""

    sources: list[str]
    zones: list[str]
    pue: list[str]


class Shown(NamedTuple):
    """The runs with the most energy, of all and by owner and project."""

    site: list[Job]
    owner: dict[str, list[Job]]
    project: dict[str, list[Job]]


def opened(settings: Settings) -> Database:
    """The site's database. Raises DatabaseError."""
    _must_exist(url_of(settings))
    return open_database(settings)


def gather(settings: Settings, database: Database, session: Session, month: Month, most: Most, now: int) -> MonthFacts:
    """Read the month, in a session that has read nothing yet. Raises DatabaseError."""
    scope = Scope(month.start, month.end, now)
    _must_be_days_of(session, str(month.zone))
    whose = _associations(session)
    terms, _ = load_terms(settings)
    with ThreadPoolExecutor(1) as pool:
        greatest = pool.submit(_greatest, database, scope, most)
        silent, without = run_counts.silent(session, scope, most.part)
        beside = pool.submit(_beside, database, scope, without, greatest, most)
        emitted = pool.submit(database.run, partial(site_energy, terms=terms, start=scope.start, end=scope.end))
        tallies = run_counts.tallies(session, scope)
        days = totals.days(session, scope.start, scope.end)
        conservation = totals.conservation(session, scope.start, scope.end)
        shown, applied = beside.result()
        energy = emitted.result()
    counted = [(whose[key], tally) for found in (tallies, silent) for key, tally in found.items()]
    clusters = sorted({of.cluster for of, _ in counted})
    return MonthFacts(_parts(counted, days), shown, clusters, *applied, conservation, energy)


def everyone(session: Session, month: Month, now: int) -> Iterator[Job]:
    """All runs of the month, by cluster, JobIDRaw and submit time."""
    scope = Scope(month.start, month.end, now)
    return map(_labelled, runs.read(session, run_counts.everyone(session, scope), scope))


def _labelled(run: runs.Run) -> Job:
    job = run.record
    return {**job, "owner": _owner(job["user"], job["uid"]), "project": job["account"] or NOBODY}


def _associations(session: Session) -> dict[int, Whose]:
    query = select(Association.id, Cluster.name, Association.uid, Association.user, Association.account)
    rows = ask(session, query.join(Cluster, Cluster.id == Association.cluster_id), {})
    return {key: Whose(cluster, _owner(user, uid), account or NOBODY) for key, cluster, uid, user, account in rows}


def _greatest(database: Database, scope: Scope, most: Most) -> list[Found]:
    """Of each association the runs with the most energy; none where no page is written."""
    with database.read() as session:
        return run_counts.greatest(session, scope, most.part) if most.part else []


def _beside(
    database: Database, scope: Scope, without: Sequence[Found], greatest: Future[list[Found]], most: Most
) -> tuple[Shown, Applied]:
    """The runs that are shown, and the factors applied to runs; with the associations as they are by then."""
    # A run of which the first rows came meanwhile is among both.
    found = sorted({run.id: run for run in (*without, *greatest.result())}.values(), key=_by_used)
    with database.read() as session:
        return _shown(session, scope, found, _associations(session), most), _applied(session, scope)


def _by_used(run: Found) -> tuple[int, int]:
    return -run.used_mj, run.id


def _shown(session: Session, scope: Scope, found: Sequence[Found], whose: Mapping[int, Whose], most: Most) -> Shown:
    owners: dict[str, list[int]] = defaultdict(list)
    projects: dict[str, list[int]] = defaultdict(list)
    for run in found:
        who = whose[run.association]
        for ids in (owners[who.owner], projects[who.project]):
            if len(ids) < most.part:
                ids.append(run.id)
    site = [run.id for run in found[: most.site]]
    wanted = {*site, *(key for many in (owners, projects) for ids in many.values() for key in ids)}
    read = sorted(runs.read(session, sorted(wanted), scope), key=_by_energy)
    places = {run.id: place for place, run in enumerate(read)}
    jobs = [_labelled(run) for run in read]

    def of(ids: Iterable[int]) -> list[Job]:
        return [jobs[place] for place in sorted(places[key] for key in ids)]

    by_owner, by_project = ({name: of(ids) for name, ids in many.items()} for many in (owners, projects))
    return Shown(of(site), by_owner, by_project)


def _by_energy(run: runs.Run) -> tuple[Any, ...]:
    job = run.record
    return -(run.used_uj or 0), job["cluster"], job["job_id_raw"], job["submit"]


def _parts(counted: Iterable[tuple[Whose, Tally]], days: Iterable[DayTotal]) -> list[Part]:
    """By owner and project; what is only in the roll-ups, because old runs were pruned, as well."""
    parts: dict[tuple[str, str], Part] = {}

    def part(owner: str, project: str) -> Part:
        return parts.setdefault((owner, project), Part(owner, project, [], []))

    for of, tally in counted:
        part(of.owner, of.project).tallies.append(tally)
    for day in days:
        part(_owner(day.user, day.uid), day.account or NOBODY).days.append(day)
    return [part for part in parts.values() if part.tallies or part.has_energy]


def _applied(session: Session, scope: Scope) -> Applied:
    """Sources, zones and PUE that were applied to the runs with energy."""
    sources = {row.id: row for row in session.scalars(select(FactorSource))}
    found = run_counts.emissions(session, scope)
    keys = {int(key) for ids, _ in found for key in ids.split(",")}
    texts, zones = ({getattr(sources[key], name) for key in keys} for name in ("text", "zone"))
    return Applied(sorted(texts), sorted(zones), sorted({str(round(pue, 9)) for _, pue in found if pue is not None}))


def _owner(user: str | None, uid: int | None) -> str:
    if user:
        return user
    return NOBODY if uid is None else f"uid {uid}"


def _must_exist(url: str) -> None:
    """A report must not make an empty database and call it the site's."""
    parsed = parse_urls(url)[0]
    if is_sqlite(parsed) and not Path(parsed.database or "").is_file():
        raise DatabaseError(
            f"{parsed.database}: no such database; is this the accounting host? carbon-aggregator makes it"
        )


def _must_be_days_of(session: Session, timezone: str) -> None:
    made = meta.get(session, meta.TIMEZONE)
    if made not in (None, timezone):
        raise DatabaseError(
            f"[site] timezone = {timezone}: the days of the database are those of {made};"
            " set it back, or start carbon-aggregator, which makes them anew"
        )
