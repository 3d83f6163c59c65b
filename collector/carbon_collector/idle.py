# SPDX-License-Identifier: MIT
"""Idle power P0 of a component: learned from the intervals themselves, kept on disk, overridden by a setting.

In order of trust: the setting; the lowest power of a stretch with next to no CPU use (`quiet`); the
intercept of a line through power over busy CPUs (`fit`); the lowest power ever seen (`lowest`). Before
anything was seen (`unknown`) an interval counts as idle power: on a node that does little it nearly is.
"""

from __future__ import annotations

from typing import NamedTuple

QUIET_BUSY = 0.01
"""An interval is quiet if less than this share of the socket's CPUs was busy."""
QUIET_US = 5_000_000
"""Quiet time is taken together until it is this long: a counter that steps late makes a short interval look
cheap, and the lowest of many would be the one that was read at the worst moment."""
FIT_US = 400_000
"""RAPL steps every millisecond or so, jittery: shorter intervals say little about power."""
UNKNOWN_UW = 1 << 60
FIT_MIN_SPREAD = 0.05
"""Least variance of busy CPUs (in CPUs squared) for a line through them to mean anything."""
FIT_MEMORY = 0.995
"""Weight of the past at each interval, so that the line follows a component that changes (fans, aging, clocks)."""


class Idle(NamedTuple):
    """Idle power in microwatts and the rule it came from."""

    power_uw: int
    rule: str


class IdlePower:
    """What is known of one domain's idle power."""

    __slots__ = ("lowest_uw", "quiet_uw", "setting_uw", "still_uj", "still_us", "sums")

    def __init__(self, setting_uw: int | None = None, saved: list[float] | None = None) -> None:
        self.setting_uw = setting_uw
        quiet, lowest, *sums = saved or [-1, -1, 0, 0, 0, 0, 0]
        self.quiet_uw = int(quiet)
        self.lowest_uw = int(lowest)
        self.sums = [float(s) for s in sums]
        self.still_uj = 0
        self.still_us = 0

    def save(self) -> list[float]:
        """What `saved` takes: quiet, lowest (-1: not seen), and the sums of the fit."""
        return [self.quiet_uw, self.lowest_uw, *self.sums]

    def learn(self, energy_uj: int, elapsed_us: int, busy_us: int, cpus: int) -> None:
        """Take in one interval: energy, its length, CPU time used, and CPUs of the socket."""
        self._learn_quiet(energy_uj, elapsed_us, busy_us <= QUIET_BUSY * cpus * elapsed_us)
        if elapsed_us < FIT_US:
            return
        power_uw = energy_uj * 1_000_000 // elapsed_us
        if self.lowest_uw < 0 or power_uw < self.lowest_uw:
            self.lowest_uw = power_uw
        x, y, w = busy_us / elapsed_us, float(power_uw), elapsed_us / 1e6
        self.sums = [s * FIT_MEMORY + w * v for s, v in zip(self.sums, (1.0, x, y, x * x, x * y))]

    def _learn_quiet(self, energy_uj: int, elapsed_us: int, quiet: bool) -> None:
        self.still_uj = self.still_uj + energy_uj if quiet else 0
        self.still_us = self.still_us + elapsed_us if quiet else 0
        if self.still_us >= QUIET_US:
            power_uw = self.still_uj * 1_000_000 // self.still_us
            self.quiet_uw = power_uw if self.quiet_uw < 0 else min(self.quiet_uw, power_uw)
            self.still_uj = self.still_us = 0

    def idle(self) -> Idle:
        """Idle power by the most trusted rule that has something to say; never above the lowest power seen."""
        if self.setting_uw is not None:
            return Idle(self.setting_uw, "setting")
        if self.quiet_uw >= 0:
            return Idle(self.quiet_uw, "quiet")
        fitted = self._intercept()
        if fitted is not None:
            return Idle(fitted, "fit")
        if self.lowest_uw >= 0:
            return Idle(self.lowest_uw, "lowest")
        return Idle(UNKNOWN_UW, "unknown")

    def _intercept(self) -> int | None:
        w, x, y, xx, xy = self.sums
        if not w:
            return None
        variance = xx / w - (x / w) ** 2
        if variance < FIT_MIN_SPREAD:
            return None
        slope = (xy / w - (x / w) * (y / w)) / variance
        return min(self.lowest_uw, max(0, int(y / w - slope * x / w)))
