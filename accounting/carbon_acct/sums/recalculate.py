# SPDX-License-Identifier: MIT
"""Recalculates the emissions of stored slots after an intensity or a setting has changed.

Recalculation has two steps, and repeating either is harmless. `refresh` writes a new revision of each slot_factor row
that has changed. `sweep` moves every job slot that names an older revision to the current one and updates its days and
day sums. The next sweep finds what a kill has left undone or another aggregator has stored meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Select, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from carbon_acct.db import meta
from carbon_acct.db.exact_sum import exact_named, exact_of
from carbon_acct.db.models import JobSlot, SlotFactor
from carbon_acct.db.row_types import UsedSlotRow
from carbon_acct.db.rows import chunks, table_of
from carbon_acct.factors.arithmetic import Factors, emissions
from carbon_acct.factors.slot_factor import SiteTerms, ZoneSlot, current
from carbon_acct.known import sum_known
from carbon_acct.sums.day_sum import groups_of, recompute
from carbon_acct.sums.settle import lock_jobs
from carbon_collector.units import DAY_S, SLOT_S

FACTOR_COLUMNS = (
    *("pue", "g_per_kwh", "source_id", "estimated"),
    *("market_g_per_kwh", "market_source_id", "upstream_g_per_kwh", "td_g_per_kwh"),
)
"""Columns of slot_factor: a row with another value in any of them is a new revision."""

BATCH = 2000
"""Number of jobs in one transaction."""

OLDER_REVISIONS = 2000
"""Number of older revisions in one transaction: three weeks of a zone. Databases limit the length of a statement."""

SPARE_S = DAY_S
"""Age in seconds until which an unused revision is kept, because a segment that is being stored may be about to use it."""


@dataclass(frozen=True)
class Preview:
    """What a recalculation would change: slot factors, slots of jobs, and their emissions before and after."""

    factors: int
    slots: int
    before_ug: int
    after_ug: int


def preview(session: Session, terms: SiteTerms, since: int, until: int) -> Preview:
    """Return what `refresh` and `sweep` would change; the caller rolls the transaction back.

    `after_ug` is computed by slot, not by job and slot, so it is off by less than a microgram for each.
    """
    slots = before = after = 0
    changed = refresh(session, terms, since, until)
    old = list(session.scalars(_waiting()))
    names = ("energy_uj", "estimated_uj", "carbon_ug")
    for part in chunks(old):
        query = select(SlotFactor.zone, SlotFactor.slot, func.count().label("jobs"), *exact_named(JobSlot, names))
        query = query.join(JobSlot, JobSlot.factor_id == SlotFactor.id).where(SlotFactor.id.in_(part))
        rows = session.execute(query.group_by(SlotFactor.zone, SlotFactor.slot)).all()
        known = terms.factors(session, {(row.zone, row.slot) for row in rows})
        for row in rows:
            slots += row.jobs
            energy, estimated, carbon = (exact_of(row, name) or 0 for name in names)
            before += carbon
            after += emissions(energy + estimated, known[row.zone, row.slot]).carbon_ug or 0
    return Preview(len(changed), slots, before, after)


def stretches(session: Session, since: int, until: int) -> list[tuple[int, int]]:
    """Return the part of [since, until) that has slot factors, in pieces of a day that fit one transaction."""
    low, high = session.execute(select(func.min(SlotFactor.slot), func.max(SlotFactor.slot))).one()
    if low is None:
        return []
    start, end = max(since, low), min(until, high + SLOT_S)
    return [(at, min(at + DAY_S, end)) for at in range(start, end, DAY_S)]


def refresh(session: Session, terms: SiteTerms, since: int, until: int) -> list[ZoneSlot]:
    """Recompute the slot factors in [since, until), store the changed ones, and return their keys. Folded slots stay."""
    rows = current(session, max(since, meta.slots_from(session)), until - 1)
    changed: list[ZoneSlot] = []
    for zone in sorted({zone for zone, _ in rows}):
        slots = [slot for place, slot in rows if place == zone]
        for slot, values in terms.values(session, zone, slots).items():
            row = rows[zone, slot]
            if any(getattr(row, name) != values[name] for name in FACTOR_COLUMNS):
                session.add(SlotFactor(zone=zone, slot=slot, revision=row.revision + 1, **values))
                changed.append((zone, slot))
    session.flush()
    return changed


def sweep(session: Session, terms: SiteTerms) -> int:
    """Apply the current revision to one batch of jobs whose slots name an older one. Returns the number of slots changed."""
    outdated = JobSlot.factor_id.in_(list(session.scalars(_waiting().order_by(SlotFactor.slot).limit(OLDER_REVISIONS))))
    jobs = list(session.scalars(select(JobSlot.job_id).where(outdated).distinct().limit(BATCH)))
    return _apply(session, terms, jobs, outdated)


def waiting(session: Session) -> int:
    """Return how many slots of jobs name an older revision."""
    return session.scalar(select(func.count()).select_from(JobSlot).where(JobSlot.factor_id.in_(_older()))) or 0


def rezone(session: Session, terms: SiteTerms, since: int, after: int) -> tuple[int, int]:
    """Recalculate one batch of jobs (ids above `after`) whose grid zone has changed, from slot `since` on.

    Returns the number of slots changed and the last job id examined, 0 when none is left.
    """
    since = max(since, meta.slots_from(session))
    query = select(JobSlot.job_id).where(JobSlot.slot >= since, JobSlot.job_id > after).distinct()
    jobs = list(session.scalars(query.order_by(JobSlot.job_id).limit(BATCH)))
    return _apply(session, terms, jobs, JobSlot.slot >= since), jobs[-1] if jobs else 0


def _older() -> Select[Any]:
    """Return the query for revisions that a newer one has replaced."""
    keys = select(SlotFactor.zone, SlotFactor.slot, func.max(SlotFactor.revision).label("revision"))
    newest = keys.group_by(SlotFactor.zone, SlotFactor.slot).having(func.count() > 1).subquery()
    query = select(SlotFactor.id).join(newest, (newest.c.zone == SlotFactor.zone) & (newest.c.slot == SlotFactor.slot))
    return query.where(SlotFactor.revision < newest.c.revision)


def _waiting() -> Select[Any]:
    """Return the query for replaced revisions that a slot of a job still names."""
    return _older().where(select(JobSlot.job_id).where(JobSlot.factor_id == SlotFactor.id).exists())


def forget(session: Session, now: int) -> int:
    """Delete replaced revisions that no slot of a job names, and return how many."""
    newer = table_of(SlotFactor).alias()
    query = (
        select(SlotFactor.id)
        .where(SlotFactor.computed_at < now - SPARE_S)
        .where(
            select(newer.c.id)
            .where(newer.c.zone == SlotFactor.zone, newer.c.slot == SlotFactor.slot)
            .where(newer.c.revision > SlotFactor.revision)
            .exists()
        )
        .where(~select(JobSlot.job_id).where(JobSlot.factor_id == SlotFactor.id).exists())
    )
    ids = list(session.scalars(query))
    for part in chunks(ids):
        session.execute(delete(SlotFactor).where(SlotFactor.id.in_(part)))
    return len(ids)


def _apply(session: Session, terms: SiteTerms, jobs: Collection[int], *conditions: Any) -> int:
    """Apply the factors in force to those slots that name others, recompute their days, and return how many changed."""
    done = 0
    for part in chunks(sorted(jobs)):
        locked = lock_jobs(session, part)
        zones = {job: terms.zone(row.cluster, row.partition) for job, row in locked.items()}
        rows = session.execute(_SLOTS.where(JobSlot.job_id.in_(part), *conditions)).all()
        known = terms.factors(session, {(zones[row.job_id], row.slot) for row in rows})
        wrong = [row for row in rows if row.factor_id != known[zones[row.job_id], row.slot].id]
        if wrong:
            session.execute(_UPDATE, [_values(row, known[zones[row.job_id], row.slot]) for row in wrong])
        days = {(row.job_id, terms.days.start(row.slot)) for row in wrong}
        recompute(session, {(job, day, terms.days.after(day)) for job, day in days}, groups_of(locked))
        done += len(wrong)
    return done


_SLOTS = select(JobSlot.job_id, JobSlot.slot, JobSlot.energy_uj, JobSlot.estimated_uj, JobSlot.factor_id)
_KEY: tuple[BindParameter[int], BindParameter[int]] = (bindparam("b_job_id"), bindparam("b_slot"))
_UPDATE = update(table_of(JobSlot)).where(JobSlot.job_id == _KEY[0], JobSlot.slot == _KEY[1])


def _values(row: UsedSlotRow, factors: Factors) -> dict[str, Any]:
    total = sum_known((row.energy_uj, row.estimated_uj))
    return {"b_job_id": row.job_id, "b_slot": row.slot, "factor_id": factors.id, **emissions(total, factors)._asdict()}
