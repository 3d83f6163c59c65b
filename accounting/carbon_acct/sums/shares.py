# SPDX-License-Identifier: MIT
"""Adds up what the nodes delivered for one run of a job in one slot. Pure arithmetic.

Unknown is not 0. A component that no node metered has no energy. One that only some nodes metered has the sum of those,
less metered time, and a note. What was modelled is kept apart from what was metered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from carbon_acct.db.models import METERED
from carbon_acct.known import sum_known

_UNCERTAINTY = {"missing": 0, "counter": 1, "integrated": 2, "modelled": 3, "shared": 4}
"""The rank of each method. One that is missing on some nodes only shows by its metered time, so it ranks lowest."""
MAX_NOTES = 8


class NodeShare(NamedTuple):
    """One component of a job on one node in one slot, as delivered."""

    energy_uj: int | None
    static_uj: int | None
    metered_us: int
    method: str
    reason: str | None
    alloc_us: int


class ShareSum(NamedTuple):
    """One component of a job in one slot. `alloc_us` is the node-time over which it should have been metered."""

    energy_uj: int | None
    static_uj: int | None
    metered_us: int
    alloc_us: int
    method: str
    modelled_uj: int | None


def sum_shares(known: Sequence[NodeShare]) -> ShareSum:
    """Return the sum of one component over nodes and streams; there is at least one share."""
    metered = [s for s in known if s.method in METERED]
    return ShareSum(
        energy_uj=sum_known([s.energy_uj for s in metered]),
        static_uj=sum_known([s.static_uj for s in metered]),
        metered_us=sum([min(s.metered_us, s.alloc_us) for s in metered]),
        alloc_us=sum([s.alloc_us for s in known]),
        method=max([s.method for s in known], key=_UNCERTAINTY.__getitem__),
        modelled_uj=sum_known([s.energy_uj for s in known if s.method == "modelled"]),
    )


def notes_of(shares: Mapping[str, Iterable[NodeShare]]) -> list[str]:
    """Return `component: reason` for every distinct reason, at most MAX_NOTES of them."""
    notes = {f"{component}: {s.reason}" for component, many in shares.items() for s in many if s.reason}
    return sorted(notes)[:MAX_NOTES]
