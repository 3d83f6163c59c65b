# SPDX-License-Identifier: MIT
"""The rights of users over each other's jobs, as slurmdbd decides them: PrivateData, admin levels, coordinators and
SlurmUser.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from carbon_acct.slurm.nodes import parse_config
from carbon_acct.slurm.programs import Programs

ALL_SEEING = ("operator", "administrator", "admin")


@dataclass(frozen=True)
class Rights:
    """A snapshot of Slurm's rights. Coordinators see their accounts and every account below (slurm.conf, PrivateData)."""

    private_jobs: bool
    private_usage: bool = False
    slurm_uid: int | None = None
    users: frozenset[str] = frozenset()
    """The users with an association. Where jobs are private, slurmdbd shows others nothing, not even their own jobs."""
    operators: frozenset[str] = frozenset()
    coordinated: Mapping[str, frozenset[str]] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    qos: frozenset[str] = frozenset()
    """The names of all QOS."""

    def accounts_of(self, user: str) -> frozenset[str]:
        """Return the accounts that the user coordinates, with all their sub-accounts."""
        own = self.coordinated.get(user, frozenset())
        if not own:
            return own
        return frozenset(a for a in (*self.parents, *own) if self._below(a, own))

    def _below(self, account: str, tops: frozenset[str]) -> bool:
        seen = set()
        while account and account not in seen:
            if account in tops:
                return True
            seen.add(account)
            account = self.parents.get(account, "")
        return False


def load_rights(programs: Programs) -> Rights:
    """Return the rights, by four short queries of slurmdbd. Raises SlurmError."""
    config = parse_config(_of_slurmdbd(programs.run("sacctmgr", "show", "configuration")))
    private = set(config.get("PrivateData", "").replace(",", " ").split())
    users = programs.run("sacctmgr", "-nP", "show", "user", "withcoord", "format=User,AdminLevel,Coordinators")
    tree = programs.run("sacctmgr", "-nP", "show", "associations", "format=Account,ParentName,User")
    levels = programs.run("sacctmgr", "-nP", "show", "qos", "format=Name")
    operators, coordinated = _users(users)
    if config.get("DisableCoordDBD", "").lower() in ("yes", "1", "true"):
        coordinated = {}
    return Rights(
        private_jobs=not private.isdisjoint(("jobs", "all")),
        private_usage=not private.isdisjoint(("usage", "all")),
        slurm_uid=_slurm_uid(config),
        users=_associated(tree),
        operators=operators,
        coordinated=coordinated,
        parents=_parents(tree),
        qos=frozenset(line.strip() for line in levels.splitlines() if line.strip()),
    )


def _of_slurmdbd(text: str) -> str:
    """Return the part that slurmdbd.conf states. slurm.conf comes first and has a PrivateData of its own, which
    slurmdbd ignores.
    """
    return text.partition("SlurmDBD configuration:")[2] or text


def _users(text: str) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    operators, coordinated = set(), {}
    for line in text.splitlines():
        user, _, rest = line.partition("|")
        level, _, accounts = rest.partition("|")
        if level.strip().lower() in ALL_SEEING:
            operators.add(user)
        if accounts.strip():
            coordinated[user] = frozenset(a.strip() for a in accounts.split(",") if a.strip())
    return frozenset(operators), coordinated


def _associated(text: str) -> frozenset[str]:
    rows = (line.split("|") for line in text.splitlines())
    return frozenset(row[2] for row in rows if len(row) > 2 and row[2])


def _parents(text: str) -> dict[str, str]:
    parents: dict[str, str] = defaultdict(str)
    for line in text.splitlines():
        account, parent, user = ([*line.split("|"), "", ""])[:3]
        if account and not user:
            parents[account] = parents[account] or parent
    return dict(parents)


def _slurm_uid(config: dict[str, str]) -> int | None:
    found = re.search(r"\((\d+)\)", config.get("SlurmUserId", "") or config.get("SlurmUser", ""))
    return int(found[1]) if found else None
