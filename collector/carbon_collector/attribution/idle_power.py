# SPDX-License-Identifier: MIT
"""Idle power P0 of a domain: learned from the intervals themselves, kept on disk, overridden by a setting.

In order of trust: the setting; the mean power of stretches with next to no use (`quiet`); a line through power
over busy CPUs (`fit`). Before use has varied enough for a line of its own, an assumption about its slope fills
in (`prior`): idle power is a known share of the power under full load. It makes the first interval of a busy node
right to some ten percent of its energy, and fades as use varies.
"""

from __future__ import annotations

from ..lean.typing import NamedTuple

QUIET_BUSY = 0.01
"""An interval is quiet if less than this share of the socket's CPUs was busy."""
QUIET_US = 5_000_000
"""Least length of a quiet stretch: a counter that steps late makes a short interval look cheap."""
SAME_LEVEL = 0.1
"""Share by which a power may differ from the mean of a level and still belong to it. Meters are noisy by some percent a
reading. The lowest of many readings would be too low by two or three times that noise; their mean is not."""
MEAN_OF = 64
"""Number of powers that the mean of a level remembers, so that it follows a component that changes."""
MOVED_UP = 12
"""Number of powers in a row above the level after which the level itself has risen (another cooling, other clocks)."""
MOVED_DOWN = 3
"""Number of powers in a row below the level after which it has fallen; one alone is noise, or was read late."""
LOWEST_US = 400_000
"""RAPL steps every millisecond or so, jittery: shorter intervals say little about the lowest power."""
FIT_US = 20_000
"""Two ticks of /proc/stat: in less it cannot be said how busy the CPUs were."""
UNKNOWN_UW = 1 << 60
FIT_MIN_SPREAD = 0.05
"""Least variance of busy CPUs (in CPUs squared) for a line through them to stand on its own."""
MOST_SLOPE = 3
"""How many times the assumed slope is believed of a line, where a little use is taken off a quiet stretch."""
FIT_MEMORY = 0.995
"""Weight of the past at each interval, so that the line follows a component that changes (fans, aging, clocks)."""


class Idle(NamedTuple):
    """Idle power in microwatts and the rule it came from."""

    power_uw: int
    rule: str


class Level:
    """The mean of powers near the lowest that were seen, in microwatts (-1: none was), and of how many it is the mean."""

    __slots__ = ("above", "below", "count", "power_uw")

    def __init__(self, power_uw: float = -1, count: float = 0) -> None:
        self.power_uw = power_uw
        self.count = int(count)
        self.above = self.below = 0

    def see(self, power_uw: float, may_rise: bool) -> None:
        """Take in a power. Some much lower ones in a row begin a new level; so do many higher ones, if it `may_rise`."""
        is_above = 0 <= self.power_uw * (1 + SAME_LEVEL) < power_uw
        is_below = power_uw < self.power_uw * (1 - SAME_LEVEL)
        self.above = self.above + 1 if is_above else 0
        self.below = self.below + 1 if is_below else 0
        if (is_above and (not may_rise or self.above < MOVED_UP)) or (is_below and self.below < MOVED_DOWN):
            return
        self.count = 1 if is_above or is_below else min(MEAN_OF, self.count + 1)
        self.above = self.below = 0
        self.power_uw = power_uw if self.count == 1 else self.power_uw + (power_uw - self.power_uw) / self.count


class IdlePower:
    """What is known of one domain's idle power; `share` is the assumed one of its power under full load."""

    __slots__ = ("cpus", "lowest", "quiet", "setting_uw", "share", "still_busy_us", "still_uj", "still_us", "sums")

    def __init__(self, share: float, saved: list[float] | None = None) -> None:
        self.share = share
        self.setting_uw: int | None = None
        quiet, lowest, cpus, *rest = saved or [-1, -1, 1, 0, 0, 0, 0, 0, 0, 0]
        counts = rest[5:] or [1, 1]  # a state of before means were kept has none
        self.quiet = Level(quiet, counts[0])
        self.lowest = Level(lowest, counts[1])
        self.cpus = int(cpus)
        self.sums = [float(s) for s in rest[:5]]
        self.still_uj = self.still_us = self.still_busy_us = 0

    def save(self) -> list[float]:
        """Return what `saved` takes: quiet, lowest (-1: not seen), CPUs, the sums of the fit, and the counts of both
        means.
        """
        counts = [self.quiet.count, self.lowest.count]
        return [self.quiet.power_uw, self.lowest.power_uw, self.cpus, *self.sums, *counts]

    def learn(self, energy_uj: int, elapsed_us: int, busy_us: int, cpus: int, is_used: bool = False) -> None:
        """Take in one interval: energy, its length, CPU time used, and CPUs of the socket.

        `is_used`: jobs use the component otherwise than by CPU time, as memory that they hold, so it is not quiet.
        """
        self.cpus = max(1, cpus)
        self._learn_quiet(energy_uj, elapsed_us, self.cpus * elapsed_us if is_used else busy_us)
        if elapsed_us < FIT_US:
            return
        power_uw = energy_uj * 1_000_000 // elapsed_us
        if elapsed_us >= LOWEST_US:
            self.lowest.see(power_uw, may_rise=False)
        x, y, w = busy_us / elapsed_us, float(power_uw), elapsed_us / 1e6
        self.sums = [s * FIT_MEMORY + w * v for s, v in zip(self.sums, (1.0, x, y, x * x, x * y))]

    def _learn_quiet(self, energy_uj: int, elapsed_us: int, busy_us: int) -> None:
        if busy_us > QUIET_BUSY * self.cpus * elapsed_us:
            self.still_uj = self.still_us = self.still_busy_us = 0
            return
        self.still_uj += energy_uj
        self.still_us += elapsed_us
        self.still_busy_us += busy_us
        if self.still_us >= QUIET_US:
            power_uw = self.still_uj * 1e6 / self.still_us
            use = self.still_busy_us / self.still_us
            assumed = power_uw * (1 - self.share) / (self.share * self.cpus + (1 - self.share) * use)
            # The little use that there was is taken off, by the slope that use has shown so far.
            slope = self._slope() if self.sums[0] else assumed
            power_uw = max(0.0, power_uw - min(slope, MOST_SLOPE * assumed) * use)
            self.quiet.see(power_uw, may_rise=True)
            self.still_uj = self.still_us = self.still_busy_us = 0

    def idle(self) -> Idle:
        """Return the idle power by the most trusted rule that has a figure; `unknown` before the first interval."""
        if self.setting_uw is not None:
            return Idle(self.setting_uw, "setting")
        if self.quiet.power_uw >= 0:
            return Idle(int(self.quiet.power_uw), "quiet")
        if not self.sums[0]:
            return Idle(UNKNOWN_UW, "unknown")
        return self._line()

    def _line(self) -> Idle:
        """Where the line meets no use, between nothing and the lowest level of power ever seen."""
        weight, x, y, xx, _ = self.sums
        power_uw = max(0, int((y - self._slope() * x) / weight))
        bounded = power_uw if self.lowest.power_uw < 0 else min(int(self.lowest.power_uw), power_uw)
        variance = xx / weight - (x / weight) ** 2
        return Idle(bounded, "fit" if variance >= FIT_MIN_SPREAD else "prior")

    def _slope(self) -> float:
        """Return the microwatts that a busy CPU adds, by the intervals so far; there is at least one.

        It is that of the least squares; where use has not varied enough, the assumed one fills up what is
        missing: (cov + l x assumed) / (var + l), with l = FIT_MIN_SPREAD - var (a ridge regression that fades).
        """
        weight, x, y, xx, xy = self.sums
        x, y = x / weight, y / weight
        variance = max(0.0, xx / weight - x * x)
        full_uw = y / (self.share + (1 - self.share) * min(1.0, x / self.cpus))
        assumed = full_uw * (1 - self.share) / self.cpus
        lacking = max(0.0, FIT_MIN_SPREAD - variance)
        # More use never draws less: a falling line is noise, and would put idle power above all that was seen.
        return max(0.0, (xy / weight - x * y + lacking * assumed) / (variance + lacking))
