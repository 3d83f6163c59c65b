# SPDX-License-Identifier: MIT
"""Says which jobs a user may see: those that slurmdbd would show (PrivateData, coordinators, admin levels).

Who may deliver for a node is another question, which `node` answers.
"""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carbon_acct.slurm.state import SlurmState


@dataclass(frozen=True)
class Viewer:
    """The rights of a user: whether he sees all jobs, or those of `user` and of `accounts`, and whether he sees totals.

    `user` is the name under which slurmdbd knows the uid, and is empty where it knows none. In slurmdbd jobs belong to
    associations, and associations to names. So a uid that was given to somebody else does not bring the jobs of its
    former owner.
    """

    uid: int
    sees_all: bool
    user: str = ""
    accounts: frozenset[str] = frozenset()
    operator: bool = False
    sees_totals: bool = False


EVERYTHING = Viewer(uid=0, sees_all=True, operator=True, sees_totals=True)
"""The viewer from whom nothing is hidden: for the reports, which root writes from the database."""


def viewer_of(uid: int, state: SlurmState) -> Viewer:
    """Return the rights of a uid. Until Slurm's rights are known, only root sees other users' jobs."""
    rights, user = state.rights, _user_name(uid)
    if uid == 0 or (rights is not None and uid == rights.slurm_uid):
        return Viewer(uid, sees_all=True, operator=True, sees_totals=True)
    if rights is None:
        return Viewer(uid, sees_all=False, user=user)
    operator = user in rights.operators
    return Viewer(
        uid,
        sees_all=operator or not rights.private_jobs,
        user=user if user in rights.users else "",
        accounts=rights.accounts_of(user),
        operator=operator,
        sees_totals=operator or not (rights.private_jobs or rights.private_usage),
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
