# SPDX-License-Identifier: MIT
"""From two readings of a counter to energy: wrap, reset or a gap.

A counter that went down has wrapped only if the energy that a wrap implies is possible. Peers that add the
range at every decrease turned one driver reset into 373 kJ.
"""

from __future__ import annotations

from ..lean.typing import NamedTuple


class Counter(NamedTuple):
    """What is known of a counter: range in microjoules (0: it never wraps) and most watts it can mean."""

    range_uj: int
    max_watts: int


class Energy(NamedTuple):
    """What a domain drew in an interval, in microjoules; `None` and the reason where that cannot be known.

    0 with a reason: the counter has not moved, and only its next step tells whether it counts at all.
    """

    uj: int | None
    reason: str


class Delta(NamedTuple):
    """Energy between two readings in microjoules; `None` and the reason where it cannot be known."""

    energy_uj: int | None
    reason: str


SLACK_UJ = 50_000_000
"""What a counter may run ahead of the ceiling in a short interval: its own steps, clocks read a little apart."""

NOT_MOVED = "counter has not moved yet"
WENT_DOWN = "counter went down: it has wrapped, or a reading is wrong"
BEHIND = "shows less yet than the parts inside it"
AHEAD = "counter is behind a reading that was too high"
PASSING = (NOT_MOVED, WENT_DOWN, BEHIND)
"""Reasons that the next reading of a healthy counter removes."""

UNSEEN = "gap of"
"""Beginning of the reason for an interval in which a whole turn could hide."""
STANDS_STILL = "counter stands still"
STILL_US = 1_000_000
"""Nothing that is on draws nothing for a second; RAPL steps every millisecond, NVML every tenth of a second."""


def delta(counter: Counter, before_uj: int, now_uj: int, elapsed_us: int) -> Delta:
    """Return the energy that a counter counted in `elapsed_us` of the same boot, or None with the reason."""
    ceiling = counter.max_watts * elapsed_us + SLACK_UJ  # W x us = uJ
    if counter.range_uj and ceiling - SLACK_UJ >= counter.range_uj:
        # A whole turn could hide in this interval, and no reading can tell.
        return Delta(None, f"{UNSEEN} {elapsed_us // 1_000_000} s, in which the counter may have wrapped unseen")
    if now_uj == before_uj and elapsed_us >= STILL_US:
        return Delta(None, STANDS_STILL)
    if now_uj >= before_uj:
        energy = now_uj - before_uj
        if energy <= ceiling:
            return Delta(energy, "")
        return Delta(None, "counter jumped forward by more than the hardware can draw")
    energy = counter.range_uj - before_uj + now_uj
    if counter.range_uj and 0 <= energy <= ceiling:
        return Delta(energy, "")
    return Delta(None, "counter was reset")
