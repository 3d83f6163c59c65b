# SPDX-License-Identifier: MIT
"""Reads the facts of a period from the accounting database: sums, and of the runs only those that are shown.

Energy and carbon are those of the roll-ups. The database counts the runs and how well they are known. All of it is one
state of the database, except for the runs that are shown and the factors that were applied: another thread looks for
them, a little later. Whatever is counted or listed in full is of the one state.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, select

from carbon_acct.db import meta
from carbon_acct.db.connect import is_sqlite, parse_urls
from carbon_acct.db.engine import open_database, url_of
from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.models import Association, Cluster, FactorSource, Ledger, NodeJobSlot
from carbon_acct.db.rows import ask
from carbon_acct.delivery.late import Late, late_changes
from carbon_acct.errors import DatabaseError
from carbon_acct.factors.slot_factor import load_terms
from carbon_acct.queries import totals
from carbon_acct.queries.site_energy import SiteEnergy, site_energy
from carbon_collector.meters.base import COMPONENTS

from . import history, run_counts, runs
from .held import held
from .money import prices
from .scope import Scope
from .sums import Part
from .wasted import wasted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from sqlalchemy.orm import Session

    from carbon_acct.db.engine import Database
    from carbon_acct.queries.totals import Conservation, DayTotal
    from carbon_collector.settings import Settings

    from .held import Held
    from .history import Amounts, History
    from .money import Prices
    from .period import Period
    from .run_counts import Found, Tally
    from .wasted import Wasted

NOBODY = "not known"

Job = dict[str, Any]
"""A run of a job with the keys of docs/http-api.md, cut to the period, and its labels `owner` and `project`."""


class Whose(NamedTuple):
    """The labels under which an association's runs are shown."""

    cluster: str
    owner: str
    project: str


@dataclass(frozen=True)
class Most:
    """The number of runs on a page of the site, and on one of an owner or a project. 0 means that no page is written."""

    site: int
    part: int


@dataclass(frozen=True)
class Facts:
    """Everything that a report is made of, except a list of all runs.

    `shown`: the runs with the most energy, of the site, of each owner and of each project. `sources`, `zones` and
    `pue`: what was applied to the runs. `conservation`: what the nodes' meters counted, and where that energy went.
    `energy`: the emissions of that energy. `history`: the site's days and slots, and what they are compared with.
    `held`: what the runs held, of the period and of those that it is compared with. `wasted`: the energy that no result
    came of. `before`: the jobs of the period before, by (owner, project). `unmatched`: the ledgers that belong to no run.
    `late`: what nodes changed of the period's months after these were closed.
    """

    parts: list[Part]
    shown: Shown
    clusters: list[str]
    sources: list[str]
    zones: list[str]
    pue: list[str]
    conservation: Conservation
    energy: SiteEnergy
    history: History
    held: list[Held]
    wasted: list[Wasted]
    before: dict[tuple[str, str], Amounts]
    unmatched: Unmatched
    late: list[Late]


class Unmatched(NamedTuple):
    """The ledgers without a run of a job in Slurm's record: how many, and the energy of their rows in microjoules."""

    ledgers: int
    energy_uj: int


class Applied(NamedTuple):
    """The sources of intensities, the zones and the PUE that were applied."""

    sources: list[str]
    zones: list[str]
    pue: list[str]


class Shown(NamedTuple):
    """The runs with the most energy, of the site, by owner and by project."""

    site: list[Job]
    owner: dict[str, list[Job]]
    project: dict[str, list[Job]]


def open_existing(settings: Settings) -> Database:
    """Return the site's database, open. Raises DatabaseError."""
    must_exist(url_of(settings))
    return open_database(settings)


def read_period(
    settings: Settings, database: Database, session: Session, period: Period, most: Most, now: int
) -> Facts:
    """Return the facts of the period, read in a session that has read nothing yet. Raises DatabaseError."""
    scope = Scope(period.start, period.end, now)
    must_be_days_of(session, str(period.zone))
    whose = _associations(session)
    terms, _ = load_terms(settings)
    with ThreadPoolExecutor(1) as pool:
        greatest = pool.submit(_greatest, database, scope, most)
        silent, without = run_counts.silent(session, scope, most.part)
        beside = pool.submit(_beside, database, scope, without, greatest, most)
        emitted = pool.submit(database.run, partial(site_energy, terms=terms, start=scope.start, end=scope.end))
        past = pool.submit(database.run, partial(history.read, terms=terms, period=period, now=now))
        tallies, had = run_counts.tallies(session, scope)
        days = totals.days(session, scope.start, scope.end)
        conservation = totals.conservation(session, scope.start, scope.end)
        unmatched = _unmatched(session, scope)
        late = late_changes(session, period.start, period.end)
        earlier = period.compared(now)
        before = history.by_association(session, earlier[0].start, earlier[0].end)
        helds = [had, *(held(session, Scope(each.start, each.end, now)) for each in earlier)]
        lost = wasted(session, period)
        shown, applied = beside.result()
        energy, past_days = emitted.result(), past.result()
    counted = [(whose[key], tally) for found in (tallies, silent) for key, tally in found.items()]
    clusters = sorted({whom.cluster for whom, _ in counted})
    then: dict[tuple[str, str], list[Amounts]] = defaultdict(list)
    for key, amounts in before.items():
        if key in whose:
            then[whose[key].owner, whose[key].project].append(amounts)
    befores = {key: history.total(many) for key, many in then.items()}
    parts = _parts(counted, days, prices(settings))
    return Facts(
        parts, shown, clusters, *applied, conservation, energy, past_days, helds, lost, befores, unmatched, late
    )


def _unmatched(session: Session, scope: Scope) -> Unmatched:
    """Return what the nodes gave to ledgers that belong to no run. It is asked of the rows themselves: the jobs' sums hold
    estimates as well, which no meter counted.
    """
    parts = [part for c in COMPONENTS for part in exact_parts(func.coalesce(getattr(NodeJobSlot, f"{c}_uj"), 0))]
    query = select(func.count(NodeJobSlot.ledger_id.distinct()), *parts)
    query = query.join(Ledger, Ledger.id == NodeJobSlot.ledger_id).where(Ledger.matched_id.is_(None))
    ((ledgers, *sums),) = ask(session, query.where(NodeJobSlot.slot >= scope.start, NodeJobSlot.slot < scope.end), {})
    return Unmatched(int(ledgers), sum(exact_whole(sums[at : at + 2]) or 0 for at in range(0, len(sums), 2)))


def all_runs(session: Session, period: Period, now: int) -> Iterator[Job]:
    """Yield all runs of the period, by cluster, JobIDRaw and submit time."""
    scope = Scope(period.start, period.end, now)
    return map(_labelled, runs.read(session, run_counts.all_runs(session, scope), scope))


def _labelled(run: runs.Run) -> Job:
    job = run.record
    return {**job, "owner": _owner(job["user"], job["uid"]), "project": job["account"] or NOBODY}


def _associations(session: Session) -> dict[int, Whose]:
    query = select(Association.id, Cluster.name, Association.uid, Association.user, Association.account)
    rows = ask(session, query.join(Cluster, Cluster.id == Association.cluster_id), {})
    return {key: Whose(cluster, _owner(user, uid), account or NOBODY) for key, cluster, uid, user, account in rows}


def _greatest(database: Database, scope: Scope, most: Most) -> list[Found]:
    """Return the runs of each association with the most energy, or none where no page is written."""
    with database.read() as session:
        return run_counts.greatest(session, scope, most.part) if most.part else []


def _beside(
    database: Database, scope: Scope, without: Sequence[Found], greatest: Future[list[Found]], most: Most
) -> tuple[Shown, Applied]:
    """Return the runs that are shown, and the factors applied to runs, with the associations as they are at that time."""
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

    def shown(ids: Iterable[int]) -> list[Job]:
        return [jobs[place] for place in sorted(places[key] for key in ids)]

    by_owner, by_project = ({name: shown(ids) for name, ids in many.items()} for many in (owners, projects))
    return Shown(shown(site), by_owner, by_project)


def _by_energy(run: runs.Run) -> tuple[Any, ...]:
    job = run.record
    return -(run.used_uj or 0), job["cluster"], job["job_id_raw"], job["submit"]


def _parts(counted: Iterable[tuple[Whose, Tally]], days: Iterable[DayTotal], paid: Prices) -> list[Part]:
    """Return the parts by owner and project, also those that are only in the roll-ups because old runs were pruned."""
    parts: dict[tuple[str, str], Part] = {}

    def part(owner: str, project: str) -> Part:
        return parts.setdefault((owner, project), Part(owner, project, [], [], []))

    for whom, tally in counted:
        part(whom.owner, whom.project).tallies.append(tally)
    for day in days:
        whose = part(_owner(day.user, day.uid), day.account or NOBODY)
        whose.days.append(day)
        whose.costs.append(paid.cost_u(day.facility_uj, day.start))
    return [part for part in parts.values() if part.tallies or part.has_energy]


def _applied(session: Session, scope: Scope) -> Applied:
    """Return the sources, zones and PUE that were applied to the runs with energy."""
    sources = {row.id: row for row in session.scalars(select(FactorSource))}
    found = run_counts.emissions(session, scope)
    keys = {int(key) for ids, _ in found for key in ids.split(",")}
    texts, zones = ({getattr(sources[key], name) for key in keys} for name in ("text", "zone"))
    return Applied(sorted(texts), sorted(zones), sorted({str(round(pue, 9)) for _, pue in found if pue is not None}))


def _owner(user: str | None, uid: int | None) -> str:
    if user:
        return user
    return NOBODY if uid is None else f"uid {uid}"


def must_exist(url: str) -> None:
    """Raise DatabaseError unless the database exists: a report must not create an empty one."""
    parsed = parse_urls(url)[0]
    if is_sqlite(parsed) and not Path(parsed.database or "").is_file():
        raise DatabaseError(
            f"{parsed.database}: no such database; is this the accounting host? carbon-aggregator makes it"
        )


def must_be_days_of(session: Session, timezone: str) -> None:
    """Raise DatabaseError where the database's days are of another time zone."""
    made = meta.get(session, meta.TIMEZONE)
    if made not in (None, timezone):
        raise DatabaseError(
            f"[site] timezone = {timezone}: the days of the database are those of {made};"
            " set it back, or start carbon-aggregator, which makes them anew"
        )
