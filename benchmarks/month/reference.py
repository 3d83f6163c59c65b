# SPDX-License-Identifier: MIT
"""The judge: grams by brute force, second by second, in whole numbers. It shares no code with the product.

A job's second costs its microjoules; a slot's intensity is the sum of what the grid had in each of its 900 seconds,
over 900. Beside it, from the same seconds, what simpler rules make of the job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .work import Work

    Pue = Callable[[int], tuple[int, int]]

SLOT_S = 900
UJ_PER_KWH = 1000 * 3600 * 10**6
UG_PER_G = 10**6
RULES = ("mean of each hour", "mean over the job", "intensity at the start", "mean of the year")


class Verdict(NamedTuple):
    """Micrograms of a job by slot, exact; and in all by each of the RULES, with the true energy and PUE."""

    by_slot: dict[int, int]
    rules: tuple[float, ...]


class Judge:
    """Knows the grid in every second of a span, and the PUE (numerator, denominator) of every slot."""

    def __init__(self, start: int, step_s: int, values: Sequence[int], pue: Pue) -> None:
        self.start = start
        self._pue = pue
        self._second: NDArray[np.int64] = np.repeat(np.asarray(values, dtype=np.int64), step_s)
        self._year = float(self._second.mean())

    def judge(self, work: Work) -> Verdict:
        """Walk through every second of the job."""
        power = np.repeat([p.microwatts for p in work.phases], [p.seconds for p in work.phases])
        first = work.start - self.start
        seconds = np.arange(first, first + len(power))
        slots = seconds // SLOT_S
        here = self._second[first : first + len(power)]
        energy = {int(slot): int(power[slots == slot].sum()) for slot in np.unique(slots)}
        grams = {slot * SLOT_S + self.start: self._grams(slot, uj) for slot, uj in energy.items()}
        facility = sum(uj * pue[0] / pue[1] for slot, uj in energy.items() for pue in [self._pue_of(slot)])
        means = (self._by_hour(energy), float(here.mean()) * facility, float(here[0]) * facility, self._year * facility)
        return Verdict(grams, tuple(value * UG_PER_G / UJ_PER_KWH for value in means))

    def _grams(self, slot: int, energy_uj: int) -> int:
        """Rounded once, half to even."""
        over, under = self._pue_of(slot)
        grid = int(self._second[slot * SLOT_S : (slot + 1) * SLOT_S].sum())
        whole, rest = divmod(energy_uj * over * grid * UG_PER_G, under * SLOT_S * UJ_PER_KWH)
        twice = 2 * rest - under * SLOT_S * UJ_PER_KWH
        return whole + (twice > 0 or (twice == 0 and whole % 2 == 1))

    def _by_hour(self, energy: dict[int, int]) -> float:
        total = 0.0
        for slot, uj in energy.items():
            hour = slot * SLOT_S // 3600
            over, under = self._pue_of(slot)
            total += uj * over / under * float(self._second[hour * 3600 : (hour + 1) * 3600].mean())
        return total

    def _pue_of(self, slot: int) -> tuple[int, int]:
        return self._pue(self.start + slot * SLOT_S)
