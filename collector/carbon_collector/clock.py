# SPDX-License-Identifier: MIT
"""Reads both clocks of the node at one instant."""

from __future__ import annotations

import time

from .lean.typing import NamedTuple


class Clock(NamedTuple):
    """One instant by the wall clock (since the epoch) and by the monotonic clock, in microseconds."""

    wall_us: int
    mono_us: int


def read_clock() -> Clock:
    """Return the present instant. The monotonic clock survives a restart of the collector, but not of the node."""
    return Clock(time.time_ns() // 1000, time.monotonic_ns() // 1000)
