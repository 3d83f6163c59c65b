# SPDX-License-Identifier: MIT
"""The facts that the database keeps about itself, in the table `meta`."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Meta
from carbon_acct.db.rows import ask

TIMEZONE = "timezone"
"""The time zone of the days in job_day and day_sum."""

DERIVED = "derived"
"""The version of the rules by which the sums were made. Sums of another version are made again."""

DELIVERED_FROM = "delivered_from"
"""The time before which delivered rows were pruned. Rows of earlier slots are refused."""

SLOTS_FROM = "slots_from"
"""The time before which the slots of jobs were folded into their days."""


def get(session: Session, key: str) -> str | None:
    """Return a value, or None where there is none."""
    rows = ask(session, _VALUE, {"key": key})  # for every segment that comes: no object is made of it
    return rows[0].value if rows else None


_VALUE = select(Meta.value).where(Meta.key == bindparam("key"))


def put(session: Session, key: str, value: str) -> None:
    """Set a value."""
    row = session.get(Meta, key)
    if row is None:
        session.add(Meta(key=key, value=value))
    else:
        row.value = value
    session.flush()


def delivered_from(session: Session) -> int:
    """Return the first second of which delivered rows are kept; 0 where nothing was ever pruned."""
    return int(get(session, DELIVERED_FROM) or 0)


def slots_from(session: Session) -> int:
    """Return the start of the oldest slot whose job rows are kept one by one. Older slots were replaced by daily rows.

    It is 0 where no slot was replaced yet.
    """
    return int(get(session, SLOTS_FROM) or 0)
