# SPDX-License-Identifier: MIT
"""What the database says of itself, in the table `meta`."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Meta
from carbon_acct.db.rows import ask

TIMEZONE = "timezone"
"""The time zone of the days of job_day and day_sum."""

DERIVED = "derived"
"""How the sums were made: where it is not what this program makes, they are made again."""

DELIVERED_FROM = "delivered_from"
"""Rows of slots before this instant are refused: those that nodes delivered were pruned."""

SLOTS_FROM = "slots_from"
"""Before this instant only days of jobs are known: their slots were folded away."""


def get(session: Session, key: str) -> str | None:
    """A value; None where there is none."""
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
    """First second that delivered rows are kept of; 0: nothing was ever pruned."""
    return int(get(session, DELIVERED_FROM) or 0)


def slots_from(session: Session) -> int:
    """First second that slots of jobs are kept of; 0: nothing was ever folded."""
    return int(get(session, SLOTS_FROM) or 0)
