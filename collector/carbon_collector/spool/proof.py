# SPDX-License-Identifier: MIT
"""Checks whose answers a node believes: those of the user that the aggregator runs as."""

from __future__ import annotations

FIRST_USER = 1000
"""User ids from here on are people's (UID_MIN of login.defs); those below belong to the system."""


def is_aggregator(uid: int, users: str) -> bool:
    """Return whether a user id is the aggregator's. `users`: names or ids, with commas between; empty: any of the system.

    The aggregator's user is the accounting host's own, and a node need not know it. Root is always believed.
    """
    if uid == 0:
        return True
    if not users:
        return uid < FIRST_USER
    return uid in [_id_of(user.strip()) for user in users.split(",")]


def _id_of(user: str) -> int:
    """Return the id of a user; -1 where there is none."""
    if user.isdigit():
        return int(user)
    import pwd  # few nodes need it

    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return -1
