# SPDX-License-Identifier: MIT
"""Tells an answer whose times are shifted, by what the same source said before: pure.

A service that changes its time zone, or the end of a period for its beginning, gives good values at wrong times. Each
alone is plausible; together they are the known series an hour, or half a day, away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from carbon_acct.grid.provider import Period

MOST_S = 14 * 3600
"""The farthest time zone from UTC, in seconds."""

STEP_S = 900
"""Time zones differ by quarters of an hour, in seconds."""

FEW = 4
"""Fewer values than this tell nothing."""


def shift(known: Mapping[int, str], fetched: Iterable[Period]) -> int:
    """Return by how many seconds the answer is later than what is known by start; 0 where it is not shifted.

    It is, where most of it disagrees with what is known of its own time, and all of it agrees at one other distance.
    Estimates are revised, so where something was measured it alone tells. A series of nothing but estimates tells too.
    """
    periods = list(fetched)
    measured = {p.start: p.g_per_kwh for p in periods if not p.estimated}
    said = measured or {p.start: p.g_per_kwh for p in periods}
    same_time = [known[at] == value for at, value in said.items() if at in known]
    if len(same_time) < FEW or sum(same_time) * 2 >= len(same_time):
        return 0
    distances = sorted((n for n in range(-MOST_S, MOST_S + 1, STEP_S) if n), key=abs)
    return next((by for by in distances if _agrees(known, said, by)), 0)


def _agrees(known: Mapping[int, str], said: Mapping[int, str], by: int) -> bool:
    both = [(known[at - by], value) for at, value in said.items() if at - by in known]
    return len(both) >= FEW and len({value for _, value in both}) >= FEW - 1 and all(a == b for a, b in both)
