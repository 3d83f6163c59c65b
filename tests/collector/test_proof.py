# SPDX-License-Identifier: MIT
"""Whose answers a node believes."""

from __future__ import annotations

import pytest

from carbon_collector.spool.proof import is_aggregator


@pytest.mark.parametrize(
    ("uid", "users", "believed"),
    [
        (0, "", True),
        (998, "", True),
        (1000, "", False),
        (65534, "", False),
        (0, "carbon-acct", True),
        (998, "997", False),
        (1005, "997, 1005", True),
        (998, "no-such-user-here", False),
        (1, "daemon", True),
    ],
)
def test_whose_answers(uid: int, users: str, believed: bool) -> None:
    """The user's of the setting and root's; without one those of the accounts that no person has."""
    assert is_aggregator(uid, users) is believed
