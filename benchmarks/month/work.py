# SPDX-License-Identifier: MIT
"""A month of jobs: most of them short, most of the energy in the long ones, and their power changes as they run."""

from __future__ import annotations

import random
from typing import NamedTuple

LONGEST_S = 3 * 86_400
MEDIAN_S = 2_400.0
SPREAD = 1.6
"""Sigma of the logarithm of the run time: a day is then about two sigma from the median, as in published traces."""

WATTS = (40, 700)


class Phase(NamedTuple):
    """A stretch of a job with the same power; microwatts are microjoules a second."""

    seconds: int
    microwatts: int


class Work(NamedTuple):
    """A job: its number, first second (UTC), and phases."""

    number: int
    start: int
    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> int:
        """How long it runs."""
        return sum(phase.seconds for phase in self.phases)


def jobs(seed: int, count: int, start: int, end: int) -> list[Work]:
    """Jobs that begin and end in [start, end)."""
    chance = random.Random(seed)  # noqa: S311 - a schedule
    found = []
    for number in range(1, count + 1):
        seconds = max(20, min(round(chance.lognormvariate(0, SPREAD) * MEDIAN_S), LONGEST_S))
        begin = chance.randrange(start, end - seconds)
        found.append(Work(number, begin, _phases(chance, seconds)))
    return found


def _phases(chance: random.Random, seconds: int) -> tuple[Phase, ...]:
    """One to six; a job that reads its data, computes, and writes draws little, much, little."""
    cuts = sorted(chance.sample(range(1, seconds), chance.randrange(6)))
    lengths = [b - a for a, b in zip([0, *cuts], [*cuts, seconds], strict=True)]
    return tuple(Phase(length, round(chance.uniform(*WATTS) * 10**6)) for length in lengths)


def by_slot(work: Work, slot_s: int) -> dict[int, int]:
    """Microjoules by slot, as a node delivers them."""
    found: dict[int, int] = {}
    at = work.start
    for seconds, microwatts in work.phases:
        until = at + seconds
        while at < until:
            slot = at - at % slot_s
            here = min(until, slot + slot_s) - at
            found[slot] = found.get(slot, 0) + here * microwatts
            at += here
    return found
