# SPDX-License-Identifier: MIT
"""Judges whether an energy accumulator can be believed: it must count, and about as much as the power says.

That of an MI100 may stand still until the machine is rebooted (github.com/ROCm/amdsmi/issues/38), amdsmi may show one
value for ever (rocm_smi_lib/issues/180), and not every chip counts in the same unit.
"""

from __future__ import annotations

import os
import time

from ..lean.typing import TYPE_CHECKING
from .gpu_metrics import UNIT_BITS
from .sysfs import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_S, MOST_S = 0.25, 1.0
"""How long an accumulator is watched at least, and at most if it does not move."""
LOOK_S = 0.05
FACTOR = 10
"""Farther than this from the power it counts in other units; power may change while it is watched."""
UNREADABLE = (Exception,)
"""amdsmi raises what it likes."""


class Watched:
    """An accumulator in 2^-16 J and a power in microwatts. `fault` says why it is not believed; `is_zero`: it has
    never counted anything.
    """

    def __init__(self, units: Callable[[], int], power: Callable[[], int]) -> None:
        self.units = units
        self.power = power
        self.fault = "accumulator stands still"
        self._first = self._read()
        self._start_s = time.monotonic()
        self.is_zero = self._first == 0

    def look(self) -> bool:
        """Look again; True if there is nothing more to wait for."""
        now = self._read()
        seconds = time.monotonic() - self._start_s
        if now is None or self._first is None:
            return True
        if now < self._first:  # it has wrapped
            self._first, self._start_s = now, time.monotonic()
        if now == self._first or seconds < LEAST_S:
            return False
        self.fault = self._against_power((now - self._first) / (1 << UNIT_BITS) / seconds)
        return True

    def _against_power(self, watts: float) -> str:
        """Return why the accumulator contradicts the power; empty if it agrees, or if the power is not known."""
        try:
            power = self.power() / 1e6
        except UNREADABLE:
            return ""
        if power <= 0 or power / FACTOR <= watts <= power * FACTOR:
            return ""
        return f"accumulator counts {watts:.0f} W where {power:.0f} W are drawn"

    def _read(self) -> int | None:
        try:
            return self.units()
        except UNREADABLE as err:
            self.fault = why(err)
            return None


def watch(watched: list[Watched]) -> None:
    """Watch them all at once."""
    waiting = [one for one in watched if not one.is_zero]
    end_s = time.monotonic() + MOST_S
    while waiting and time.monotonic() < end_s:
        time.sleep(LOOK_S)
        waiting = [one for one in waiting if not one.look()]


def why(err: BaseException) -> str:
    """Return what went wrong in a few words."""
    if isinstance(err, OSError):
        return f"{os.path.basename(err.filename)}: {reason_of(err)}" if err.filename else reason_of(err)
    return str(err) or repr(err)
