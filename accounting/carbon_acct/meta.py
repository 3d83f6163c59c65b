# SPDX-License-Identifier: MIT
"""What the database says of itself, in the table `meta`."""

from __future__ import annotations

from sqlalchemy.orm import Session

from carbon_acct.db.models import Meta

TIMEZONE = "timezone"
"""The time zone of the days of job_day and day_sum."""

DERIVED = "derived"
"""How the sums were made: where it is not what this program makes, they are made again."""

DETAILS_FROM = "details_from"
"""Before this instant only days of jobs are known: what nodes delivered, and the jobs' slots, were folded away."""


def get(session: Session, key: str) -> str | None:
    """A value; None where there is none."""
    row = session.get(Meta, key)
    return row.value if row else None


def put(session: Session, key: str, value: str) -> None:
    """Set a value."""
    row = session.get(Meta, key)
    if row is None:
        session.add(Meta(key=key, value=value))
    else:
        row.value = value
    session.flush()


def details_from(session: Session) -> int:
    """First second that details are kept of; rows of before are refused. 0: nothing was ever folded."""
    return int(get(session, DETAILS_FROM) or 0)
