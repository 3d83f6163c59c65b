# SPDX-License-Identifier: MIT
"""Predicts what a run will have used when it ends. Pure arithmetic, no I/O.

The prediction is what was used so far, plus what is left at the steady rate. `benchmarks/tracking.py` holds this rule
beside those of other tools on simulated trainings.
"""

from __future__ import annotations

from typing import NamedTuple

MOST_STRETCHES = 32


class Cost(NamedTuple):
    """Joules and seconds, which the same rule predicts."""

    energy_j: float
    seconds: float

    def plus(self, other: Cost) -> Cost:
        """Return the sum."""
        return Cost(self.energy_j + other.energy_j, self.seconds + other.seconds)

    def times(self, factor: float) -> Cost:
        """Return `factor` times as much."""
        return Cost(self.energy_j * factor, self.seconds * factor)


class Stretch(NamedTuple):
    """A piece of an epoch outside its phases: steps made, what they cost, how many epochs were complete before."""

    steps: float
    cost: Cost
    epoch: int


class EpochCost(NamedTuple):
    """What an epoch cost: its body, and its phases by name as (how many, cost)."""

    body: Cost
    steps: float
    phases: dict[str, tuple[int, Cost]]

    @property
    def whole(self) -> Cost:
        """Body and phases."""
        cost = self.body
        for _, spent in self.phases.values():
            cost = cost.plus(spent)
        return cost


class Progress(NamedTuple):
    """What is known of a run at some moment."""

    epochs: int
    """How many there will be; 0 where nobody said."""
    steps: int
    """Steps of an epoch; 0 where nobody said."""
    done: tuple[EpochCost, ...]
    open: EpochCost | None
    """The epoch that runs."""
    before: Cost
    """Set-up before the first epoch."""
    after: Cost
    """What came after an epoch had ended and before the next began."""
    stretches: tuple[Stretch, ...]
    """Oldest first."""


def coalesced(stretches: list[Stretch]) -> list[Stretch]:
    """Return the same stretches in fewer pieces where there are too many."""
    return stretches
