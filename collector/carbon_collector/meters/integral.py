# SPDX-License-Identifier: MIT
"""Integrates power to energy, for sensors that do not count: the trapezoidal rule over the samples."""

from __future__ import annotations

import time

from .base import Reading


def now_us() -> int:
    """Return the time of the monotonic clock in microseconds, over which power is integrated."""
    return time.monotonic_ns() // 1000


class Integral:
    """The microjoules under a power since the first sample.

    Between samples farther apart than `longest_us` the power is not known, and the next reading is unknown.
    """

    __slots__ = ("_at_us", "_gap_us", "_power_uw", "_rest", "_uj", "longest_us")

    def __init__(self, longest_us: int) -> None:
        self.longest_us = longest_us
        self._uj = 0
        self._rest = 0
        self._gap_us = 0
        self._at_us: int | None = None
        self._power_uw = 0

    def add(self, power_uw: int, at_us: int) -> None:
        """Take in a sample: microwatts at a time of the monotonic clock in microseconds."""
        elapsed = 0 if self._at_us is None else max(0, at_us - self._at_us)
        if elapsed > self.longest_us:
            self._gap_us = elapsed
        else:
            # uW x us = 1e-12 J; what is below a microjoule waits for the next sample.
            self._uj, self._rest = divmod(
                self._uj * 2_000_000 + self._rest + (self._power_uw + power_uw) * elapsed, 2_000_000
            )
        self._at_us = at_us
        self._power_uw = power_uw

    def reading(self, now_us: int) -> Reading:
        """Return the energy so far, or unknown if the power was not seen for too long since the last reading, or is not
        seen now.
        """
        since = self.longest_us + 1 if self._at_us is None else now_us - self._at_us
        gap, self._gap_us = max(self._gap_us, since if since > self.longest_us else 0), 0
        if gap:
            return Reading(None, f"power was not seen for {gap / 1e6:.1f} s")
        return Reading(self._uj, "")
