# SPDX-License-Identifier: MIT
"""Cuts time into slots: quarters of an hour of UTC. Energy is kept by slot, because the grid's intensity changes with
the hour. Pure.
"""

from __future__ import annotations

from ..apportion import apportion
from ..units import SLOT_S, US_PER_S

SLOT_US = SLOT_S * US_PER_S
"""Length of a slot in microseconds."""


def slot_of(wall_us: int) -> int:
    """Return the start, in epoch seconds, of the slot that holds an instant (microseconds since the epoch)."""
    return wall_us // SLOT_US * SLOT_S


def cut(start_us: int, end_us: int) -> list[tuple[int, int, int]]:
    """Return [start, end) cut at the borders of slots: (slot, start_us, end_us) of each piece, in order.

    An empty interval gives one empty piece, because what was counted in it has to be booked.
    """
    pieces: list[tuple[int, int, int]] = []
    at = start_us
    while True:
        slot = slot_of(at)
        border = slot * US_PER_S + SLOT_US
        if border >= end_us:
            return [*pieces, (slot, at, max(at, end_us))]
        pieces.append((slot, at, border))
        at = border


def share_out(amount: int, pieces: list[tuple[int, int, int]]) -> list[int]:
    """Divide an amount over pieces by their length, exactly; if all are empty, the last piece gets it."""
    lengths = [end - start for _, start, end in pieces]
    if not any(lengths):
        return [0] * (len(pieces) - 1) + [amount]
    return apportion(amount, lengths)
