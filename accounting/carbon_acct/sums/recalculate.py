# SPDX-License-Identifier: MIT
"""Prices slots of jobs again: after a better intensity came, or the settings changed.

In two steps, each harmless if repeated. `refresh` makes new revisions of prices that have changed. `sweep` brings
every slot of a job that still names an older revision, or a zone that is no longer the job's, to the one in force, with
its days and roll-ups. What a kill leaves undone, or another aggregator stores meanwhile, the next sweep finds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Select, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from carbon_acct.db import meta
from carbon_acct.db.models import JobSlot, SlotPrice
from carbon_acct.db.rows import table_of
from carbon_acct.factors.arithmetic import Price, priced
from carbon_acct.factors.slot_factor import Prices, ZoneSlot, current
from carbon_acct.sums import day_sum
from carbon_acct.sums.settle import chunks, lock_jobs
from carbon_acct.sums.shares import add
from carbon_collector.units import SLOT_S

PRICED_BY = (
    *("pue", "g_per_kwh", "source_id", "estimated"),
    *("market_g_per_kwh", "market_source_id", "upstream_g_per_kwh", "td_g_per_kwh"),
)
"""What makes a price another one."""

BATCH = 2000
"""Jobs in one transaction."""

PRICES = 2000
"""Older prices in one transaction: three weeks of a zone; no database takes a statement of any length."""

DAY_S = 86400
SPARE_S = DAY_S
"""Revisions that nothing names any more are kept so long: a segment that is being stored may be about to."""


@dataclass(frozen=True)
class Preview:
    """What a re-pricing would change: prices, slots of jobs, and what those are now and would be."""

    prices: int
    slots: int
    before_ug: int
    after_ug: int


def preview(session: Session, prices: Prices, since: int, until: int) -> Preview:
    """What `refresh` and `sweep` would do, and `rezone` for the zones of jobs; nothing is stored if the caller takes it back.

    `after_ug` is priced by slot, not by job and slot: less than a microgram off for each.
    """
    slots = before = after = 0
    changed = refresh(session, prices, since, until)
    old = list(session.scalars(_waiting()))
    total = func.sum(func.coalesce(JobSlot.energy_uj, 0) + func.coalesce(JobSlot.estimated_uj, 0))
    for part in chunks(old):
        query = select(SlotPrice.zone, SlotPrice.slot, func.count(), total, func.sum(JobSlot.carbon_ug))
        query = query.join(JobSlot, JobSlot.price_id == SlotPrice.id).where(SlotPrice.id.in_(part))
        rows = session.execute(query.group_by(SlotPrice.zone, SlotPrice.slot)).all()
        known = prices.of(session, {(row.zone, row.slot) for row in rows})
        for zone, slot, count, energy, grams in rows:
            slots += count
            before += int(grams or 0)
            after += priced(int(energy), known[zone, slot]).carbon_ug or 0
    return Preview(len(changed), slots, before, after)


def stretches(session: Session, since: int, until: int) -> list[tuple[int, int]]:
    """[since, until) in parts of a day that one transaction takes, as far as there are prices."""
    low, high = session.execute(select(func.min(SlotPrice.slot), func.max(SlotPrice.slot))).one()
    if low is None:
        return []
    start, end = max(since, low), min(until, high + SLOT_S)
    return [(at, min(at + DAY_S, end)) for at in range(start, end, DAY_S)]


def refresh(session: Session, prices: Prices, since: int, until: int) -> list[ZoneSlot]:
    """Compute the prices of slots in [since, until) that have one again; those that changed. Folded slots stay."""
    rows = current(session, max(since, meta.slots_from(session)), until - 1)
    changed: list[ZoneSlot] = []
    for zone in sorted({zone for zone, _ in rows}):
        slots = [slot for of, slot in rows if of == zone]
        for slot, values in prices.values(session, zone, slots).items():
            row = rows[zone, slot]
            if any(getattr(row, name) != values[name] for name in PRICED_BY):
                session.add(SlotPrice(zone=zone, slot=slot, revision=row.revision + 1, **values))
                changed.append((zone, slot))
    session.flush()
    return changed


def sweep(session: Session, prices: Prices) -> int:
    """Bring slots of jobs that name an older revision to the one in force: of some jobs; how many. 0: none is left."""
    outdated = JobSlot.price_id.in_(list(session.scalars(_waiting().order_by(SlotPrice.slot).limit(PRICES))))
    jobs = list(session.scalars(select(JobSlot.job_id).where(outdated).distinct().limit(BATCH)))
    return _price(session, prices, jobs, outdated)


def waiting(session: Session) -> int:
    """How many slots of jobs name an older revision."""
    return session.scalar(select(func.count()).select_from(JobSlot).where(JobSlot.price_id.in_(_older()))) or 0


def rezone(session: Session, prices: Prices, since: int, after: int) -> tuple[int, int]:
    """Price slots from `since` on of jobs whose zone is another one now: of some jobs with ids above `after`.

    How many, and the last id that was looked at; 0 when none is left.
    """
    since = max(since, meta.slots_from(session))
    query = select(JobSlot.job_id).where(JobSlot.slot >= since, JobSlot.job_id > after).distinct()
    jobs = list(session.scalars(query.order_by(JobSlot.job_id).limit(BATCH)))
    return _price(session, prices, jobs, JobSlot.slot >= since), jobs[-1] if jobs else 0


def _older() -> Select[Any]:
    """Prices that a newer revision stands for."""
    keys = select(SlotPrice.zone, SlotPrice.slot, func.max(SlotPrice.revision).label("revision"))
    newest = keys.group_by(SlotPrice.zone, SlotPrice.slot).having(func.count() > 1).subquery()
    query = select(SlotPrice.id).join(newest, (newest.c.zone == SlotPrice.zone) & (newest.c.slot == SlotPrice.slot))
    return query.where(SlotPrice.revision < newest.c.revision)


def _waiting() -> Select[Any]:
    """Those that a slot of a job names."""
    return _older().where(select(JobSlot.job_id).where(JobSlot.price_id == SlotPrice.id).exists())


def forget(session: Session, now: int) -> int:
    """Take away revisions that are not in force and that no slot of a job names; how many."""
    newer = table_of(SlotPrice).alias()
    query = (
        select(SlotPrice.id)
        .where(SlotPrice.computed_at < now - SPARE_S)
        .where(
            select(newer.c.id)
            .where(newer.c.zone == SlotPrice.zone, newer.c.slot == SlotPrice.slot)
            .where(newer.c.revision > SlotPrice.revision)
            .exists()
        )
        .where(~select(JobSlot.job_id).where(JobSlot.price_id == SlotPrice.id).exists())
    )
    ids = list(session.scalars(query))
    for part in chunks(ids):
        session.execute(delete(SlotPrice).where(SlotPrice.id.in_(part)))
    return len(ids)


def _price(session: Session, prices: Prices, jobs: Collection[int], *conditions: Any) -> int:
    """Price those slots of jobs by what is in force that are not, and compute their days again."""
    done = 0
    for part in chunks(sorted(jobs)):
        locked = lock_jobs(session, part)
        zones = {job: prices.zone(row.cluster, row.partition) for job, row in locked.items()}
        rows = session.execute(_SLOTS.where(JobSlot.job_id.in_(part), *conditions)).all()
        known = prices.of(session, {(zones[row.job_id], row.slot) for row in rows})
        wrong = [row for row in rows if row.price_id != known[zones[row.job_id], row.slot].id]
        if wrong:
            session.execute(_UPDATE, [_values(row, known[zones[row.job_id], row.slot]) for row in wrong])
        days = {(row.job_id, prices.days.start(row.slot)) for row in wrong}
        associations = {job: row.association_id for job, row in locked.items()}
        day_sum.refresh(session, {(job, day, prices.days.after(day)) for job, day in days}, associations)
        done += len(wrong)
    return done


_SLOTS = select(JobSlot.job_id, JobSlot.slot, JobSlot.energy_uj, JobSlot.estimated_uj, JobSlot.price_id)
_KEY: tuple[BindParameter[int], BindParameter[int]] = (bindparam("b_job_id"), bindparam("b_slot"))
_UPDATE = update(table_of(JobSlot)).where(JobSlot.job_id == _KEY[0], JobSlot.slot == _KEY[1])


def _values(row: Any, price: Price) -> dict[str, Any]:
    total = add((row.energy_uj, row.estimated_uj))
    return {"b_job_id": row.job_id, "b_slot": row.slot, "price_id": price.id, **priced(total, price)._asdict()}
