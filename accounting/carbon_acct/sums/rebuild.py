# SPDX-License-Identifier: MIT
"""Recomputes all sums from what was delivered: after an upgrade that changed them, or for the days of another time
zone.
"""

from __future__ import annotations

import logging

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from carbon_acct.db import meta
from carbon_acct.db.associations import association_id
from carbon_acct.db.models import Apart, DaySum, Job, JobDay, JobSlot, Ledger, NodeJobSlot, SiteSlot
from carbon_acct.db.rows import chunks
from carbon_acct.errors import DatabaseError
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.sums import site_slot
from carbon_acct.sums.settle import update_estimates, update_runs, update_slots

log = logging.getLogger(__name__)

VERSION = "1"
"""The version of the sums. A database with another version has them recomputed."""


def where_needed(session: Session, terms: SiteTerms, timezone: str) -> None:
    """Recompute all sums if another version of the rules, or another time zone, made those that are stored.

    Raises DatabaseError where the delivered rows that they are made from were deleted.
    """
    made = meta.get(session, meta.DERIVED), meta.get(session, meta.TIMEZONE)
    if made == (VERSION, timezone):
        return
    if session.scalar(select(func.count()).select_from(Ledger)):
        if meta.delivered_from(session):
            raise DatabaseError(
                f"[site] timezone = {timezone}: the days of the database are those of {made[1]}, and the delivered rows"
                " to make others were pruned (carbon-mgr prune); set it back"
            )
        log.warning("making the sums of all jobs anew")
        rebuild_all(session, terms)
    meta.put(session, meta.DERIVED, VERSION)
    meta.put(session, meta.TIMEZONE, timezone)


def rebuild_all(session: Session, terms: SiteTerms) -> None:
    """Make all sums from the delivered rows and Slurm's record. Needs all details."""
    for table in (DaySum, JobDay, JobSlot, SiteSlot, Apart):
        session.execute(delete(table))
    associations: dict[str, int] = {}
    for job in session.scalars(select(Job)):
        who = {"uid": job.uid, "user": job.user, "account": job.account, "partition": job.partition, "qos": job.qos}
        job.association_id = association_id(session, associations, cluster_id=job.cluster_id, **who)
    session.flush()
    matched = list(session.scalars(select(Ledger.matched_id).where(Ledger.matched_id.is_not(None)).distinct()))
    for part in chunks(sorted(key for key in matched if key is not None)):
        pairs = select(Ledger.matched_id, NodeJobSlot.slot).join(NodeJobSlot, NodeJobSlot.ledger_id == Ledger.id)
        found = session.execute(pairs.where(Ledger.matched_id.in_(part)).distinct())
        update_slots(session, {(job, slot) for job, slot in found if job is not None}, terms)
    silent = select(Job.id).where(Job.unmetered_us > 0)
    for part in chunks(sorted(session.scalars(silent))):
        update_runs(session, part, [], terms)
    update_estimates(session, terms, 0)
    site_slot.rebuild(session)
