# SPDX-License-Identifier: MIT
"""Says which of the users and QOS that are asked for nobody has. To sacct such a name is an error, no empty table.

A name is known if this host's passwd has it, or if a job that the viewer may see has it: users who have left keep
their jobs. So the answer tells nothing of jobs that the viewer may not see.
"""

from __future__ import annotations

import pwd
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.access.viewer import Viewer
from carbon_acct.db.lists import Lists
from carbon_acct.db.models import Association
from carbon_acct.queries.job_filter import visible


def unknown(
    session: Session, viewer: Viewer, users: Sequence[str], qos: Sequence[str], all_qos: Collection[str]
) -> str:
    """Return the line about the first user or QOS that nobody has; empty where each is known.

    `all_qos` are the QOS that Slurm has.
    """
    for name in _strangers(session, viewer, users):
        if not _in_passwd(name):  # one after the other: passwd may be a directory on the network
            return f"user {name!r}: nobody has that name or number"
    levels = [name for name in qos if name not in all_qos]
    used = set(_used(session, viewer, levels)) if levels else set()
    for name in levels:
        if name not in used:
            return f"qos {name!r}: nobody has that one{_which(all_qos)}"
    return ""


def _which(names: Collection[str]) -> str:
    return f"; one of {', '.join(sorted(names))}" if names else ""


def _strangers(session: Session, viewer: Viewer, names: Sequence[str]) -> Iterable[str]:
    """Return the names and numbers that no association has of which the viewer may see the jobs."""
    if not names:
        return []
    lists = Lists(session.get_bind().dialect.name)
    seen = select(Association.user, Association.uid).where(*visible(viewer, Association, lists))
    numbers = [int(name) for name in names if is_uid(name)]
    known = {row.user for row in session.execute(seen.where(lists.among(Association.user, names)))}
    known |= {str(row.uid) for row in session.execute(seen.where(lists.among(Association.uid, numbers)))}
    return [name for name in names if (str(int(name)) if is_uid(name) else name) not in known]


def _used(session: Session, viewer: Viewer, names: Sequence[str]) -> Iterable[str]:
    lists = Lists(session.get_bind().dialect.name)
    seen = (*visible(viewer, Association, lists), lists.among(Association.qos, names))
    query = select(Association.qos).where(*seen).distinct()
    return [name for name in session.scalars(query) if name is not None]


def _in_passwd(name: str) -> bool:
    try:
        pwd.getpwuid(int(name)) if is_uid(name) else pwd.getpwnam(name)
    except (KeyError, OverflowError, ValueError):
        return False
    return True


def is_uid(name: str) -> bool:
    """Return whether a word names a user by number. A longer number is no uid, and would be too large for a column."""
    return name.isascii() and name.isdigit() and len(name) < 11
