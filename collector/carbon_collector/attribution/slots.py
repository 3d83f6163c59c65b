# SPDX-License-Identifier: MIT
"""Slots: energy is kept per quarter of an hour of UTC, because the grid's intensity changes with the clock."""

from __future__ import annotations

from ..units import SLOT_S, US_PER_S
from .split import apportion

SLOT_US = SLOT_S * US_PER_S


def slot_of(wall_us: int) -> int:
    """Start of the slot that holds this instant (microseconds since the epoch), in epoch seconds."""
    return wall_us // SLOT_US * SLOT_S


def cut(start_us: int, end_us: int) -> list[tuple[int, int, int]]:
    """Cut [start, end) at the borders of slots: (slot, start_us, end_us) of each piece, in order.

    An empty interval is one empty piece: what was counted in it has to go somewhere.
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
    """Share an amount over pieces by their length, exactly; over empty pieces all goes to the last."""
    lengths = [end - start for _, start, end in pieces]
    if not any(lengths):
        return [0] * (len(pieces) - 1) + [amount]
    return apportion(amount, lengths)
