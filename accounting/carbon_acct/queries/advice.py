# SPDX-License-Identifier: MIT
"""Says what a user could have saved, from the user's own jobs: at most three savings, each by a rule with a name.

A saving is energy that the jobs of the window did consume. Where nothing is known there is no advice, and a saving
that is a small part of the user's energy is none either (`[waste] advice_percent`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select, union_all
from sqlalchemy.orm import Session

from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.days import Days
from carbon_acct.db.exact_sum import exact_named, exact_of
from carbon_acct.db.lists import Lists
from carbon_acct.db.models import Association, Cluster, Job, JobDay
from carbon_acct.known import sum_known
from carbon_acct.queries.job_filter import Filters, of_states, of_whom, state_name
from carbon_acct.queries.period import Period, epoch_of
from carbon_acct.queries.usage import WASTE_STATES
from carbon_acct.sums.day_sum import state_of

MOST = 3
NAMED = 3
"""The number of jobs that an advice names: those of most energy."""
SUMS = ("energy_uj", "estimated_uj", "carbon_ug", "gpu_idle_uj", "cpu_unused_uj")
MOST_RUNS = 20_000
"""The runs of a user that are looked at: those of most energy."""

NO_FILTER = Filters(EVERYTHING)

_UJ_PER_KWH = 3_600_000_000_000

TEXTS = {
    "failed": "{jobs} failed after a job of the same name had failed; try such a job once with little data first",
    "timeout": "{jobs} ran into the time limit, and what they had done is lost unless it was saved; ask for more time,"
    " or save the state on the way",
    "out_of_memory": "{jobs} ran out of memory; ask for more, or try with little data first",
    "cancelled": "{jobs} were cancelled after they had begun; try such a job once with little data first",
    "gpu_idle": "GPUs were held at idle power, most by {jobs}; ask for fewer GPUs, or leave them when they are done",
    "cpu_unused": "CPUs were held and not used, most by {jobs}; ask for fewer CPUs",
}


@dataclass(frozen=True)
class Advice:
    """A saving in microjoules and micrograms, the rule that it comes from, some of the jobs, and a sentence."""

    rule: str
    energy_uj: int
    carbon_ug: int | None
    jobs: list[str]
    text: str


@dataclass(frozen=True)
class _Part:
    """What a run could have saved by a rule."""

    job_id: str
    energy_uj: int
    carbon_ug: int


def advice(
    session: Session,
    user: str,
    period: Period,
    days: Days,
    least_percent: float = 1.0,
    filters: Filters = NO_FILTER,
) -> list[Advice]:
    """Return at most MOST advices to a user on the user's own jobs in a window, the largest saving first.

    Of `filters` the accounts, partitions, QOS, states and clusters narrow them; the viewer and the users do not count.
    """
    if not user:
        return []
    first, until = epoch_of(period.first, days), epoch_of(period.until, days)
    runs = _runs(session, user, filters, first, until)
    used = sum(map(_used_uj, runs))
    found = [_advice(rule, parts) for rule, parts in _parts(runs).items()]
    worth = [one for one in found if one.energy_uj and one.energy_uj * 100 >= least_percent * used]
    return sorted(worth, key=lambda one: (-one.energy_uj, one.rule))[:MOST]


def _runs(session: Session, user: str, filters: Filters, first: int, until: int) -> Sequence[Any]:
    """Return the runs of a user with their sums of the window's days, those of most energy first."""
    lists = Lists(session.get_bind().dialect.name)
    narrowed = of_whom(replace(filters, users=(), uids=()), Association, lists)
    own = select(Association.id).where(Association.user == user, *narrowed)
    if filters.clusters:
        own = own.join(Cluster, Cluster.id == Association.cluster_id)
        own = own.where(lists.among(Cluster.name, filters.clusters))
    # A float, which orders the runs and cannot exceed 64 bits; the figures themselves are exact.
    used = func.sum(1.0 * func.coalesce(JobDay.energy_uj, 0) + func.coalesce(JobDay.estimated_uj, 0))
    # In two halves: no database has an index for `end IS NULL OR end >= first`.
    halves = (select(Job.id).where(Job.association_id.in_(own), half) for half in (Job.end.is_(None), Job.end >= first))
    among = union_all(*halves).subquery()
    query = select(Job.job_id, Job.name, Job.state, Job.submit, *exact_named(JobDay, SUMS))
    query = query.select_from(among).join(Job, Job.id == among.c.id).join(JobDay, JobDay.job_id == Job.id)
    query = query.where(JobDay.day >= first, JobDay.day < until)
    if filters.states:
        query = query.where(of_states(set(map(state_name, filters.states)), lists))
    query = query.group_by(Job.id, Job.job_id, Job.name, Job.state, Job.submit)
    return session.execute(query.order_by(used.desc(), Job.id).limit(MOST_RUNS)).all()


def _parts(runs: Iterable[Any]) -> dict[str, list[_Part]]:
    """Return what each run could have saved, by rule. A run of which nothing came is judged by that alone."""
    rule_of = {state: rule for rule, states in WASTE_STATES.items() for state in states}
    found: dict[str, list[_Part]] = defaultdict(list)
    failed: set[str] = set()
    for run in sorted(runs, key=lambda run: (run.submit, run.job_id)):
        used, carbon = _used_uj(run), exact_of(run, "carbon_ug") or 0
        rule = rule_of.get(state_of(run.state))
        if rule:
            is_first = rule == "failed" and run.name not in failed
            failed |= {run.name} if rule == "failed" else set()
            if not is_first:  # the first failure tells something
                found[rule].append(_Part(run.job_id, used, carbon))
            continue
        for name in ("gpu_idle", "cpu_unused"):
            amount = exact_of(run, f"{name}_uj")
            if amount:
                found[name].append(_Part(run.job_id, amount, carbon * amount // used if used else 0))
    return found


def _used_uj(run: Any) -> int:
    return (exact_of(run, "energy_uj") or 0) + (exact_of(run, "estimated_uj") or 0)


def _advice(rule: str, parts: Sequence[_Part]) -> Advice:
    most = sorted(parts, key=lambda part: (-part.energy_uj, part.job_id))
    energy = sum(part.energy_uj for part in parts)
    carbon = sum_known(part.carbon_ug for part in parts)
    count = f"{len(parts)} job{'s' if len(parts) > 1 else ''}"
    jobs = count if rule in WASTE_STATES else f"job {most[0].job_id}"
    text = TEXTS[rule].format(jobs=jobs)
    return Advice(rule, energy, carbon, [part.job_id for part in most[:NAMED]], f"{kwh(energy)} kWh: {text}")


def kwh(energy_uj: int) -> str:
    """Return kilowatt-hours with three digits."""
    return f"{float(f'{energy_uj / _UJ_PER_KWH:.3g}'):,.10g}"
