# SPDX-License-Identifier: MIT
"""Predicts what a run will have used when it ends. Pure arithmetic, no I/O.

The prediction is what was used so far, plus what is left at the steady rate. `benchmarks/tracking.py` holds this rule
beside those of other tools on simulated trainings.
"""

from __future__ import annotations

from typing import NamedTuple

MOST_STRETCHES = 32
WINDOW = 0.25
"""Share of the stretches that the steady rate rests on: the youngest."""
ALIKE = 0.06
"""Older stretches count as well while their rate lies within this share of the youngest ones' rate."""
STANDS_OUT = 0.10
"""A first epoch that differs by more than this share from those after it is left out."""


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


NOTHING = Cost(0.0, 0.0)


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
    idle: Cost = NOTHING
    """The part of the body in which no step was made: checkpoints, a validation that is not marked as a phase."""

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
    """Those in which steps were made, oldest first."""
    times: tuple[Stretch, ...] = ()
    """All of the time, a second counted as a step, oldest first."""

    @property
    def spent(self) -> Cost:
        """All so far."""
        cost = self.before.plus(self.after)
        for epoch in (*self.done, *((self.open,) if self.open else ())):
            cost = cost.plus(epoch.whole)
        return cost

    @property
    def share(self) -> float | None:
        """The share of the epochs that is done, a begun one by its steps; None where nobody said how many."""
        if not self.epochs:
            return None
        begun = self.open.steps / self.steps if self.open and self.steps else 0.0
        return min(1.0, (len(self.done) + min(1.0, begun)) / self.epochs)


def rest(progress: Progress) -> Cost | None:
    """Return what is still to come, by what came so far; None where that tells nothing.

    It tells nothing where nobody said how many epochs there are, or before the first has ended where its steps are
    not known.
    """
    left = progress.epochs - len(progress.done)
    if not progress.epochs or (not progress.done and not (progress.steps and progress.stretches)):
        return None
    if left <= 0:
        return NOTHING
    body = _steps_left(progress, left) if progress.stretches else _epochs_left(progress, left)
    return body.plus(_phases_left(progress))


def rest_until(progress: Progress, seconds: float) -> Cost | None:
    """Return what is still to come where the run goes on for so many seconds; None before anything is known."""
    if not progress.times or seconds < 0:
        return None
    return Cost(steady(progress.times).energy_j * seconds, seconds)


def stretches_of(progress: Progress) -> tuple[Stretch, ...]:
    """Return the stretches that the rate rests on: of steps, else the epochs, else of time."""
    epochs = tuple(Stretch(1.0, epoch.body, number) for number, epoch in enumerate(progress.done))
    return progress.stretches or epochs or progress.times


def _steps_left(progress: Progress, left: int) -> Cost:
    """Steps at the steady rate, and what lies between them as often as so far."""
    done, begun = progress.done, progress.open
    each = float(progress.steps) or sum(epoch.steps for epoch in done) / len(done)
    steps = max(0.0, each * left - (begun.steps if begun else 0.0))
    stretches = progress.stretches
    if first_stands_out([(epoch.body.energy_j - epoch.idle.energy_j) / max(1.0, epoch.steps) for epoch in done] or [0]):
        stretches = tuple(stretch for stretch in stretches if stretch.epoch) or stretches
    cost = steady(stretches).times(steps)
    if done:
        idle = NOTHING
        for epoch in done:
            idle = idle.plus(epoch.idle)
        cost = cost.plus(_less(idle.times(left / len(done)), begun.idle if begun else NOTHING))
    return cost


def _epochs_left(progress: Progress, left: int) -> Cost:
    """Epochs like those so far."""
    bodies = [Stretch(1.0, epoch.body, number) for number, epoch in enumerate(progress.done)]
    each = steady(tuple(bodies[1:] if first_stands_out([body.cost.energy_j for body in bodies]) else bodies))
    return _less(each.times(left), progress.open.body if progress.open else NOTHING)


def first_stands_out(epochs: list[float]) -> bool:
    """Whether the first epoch's figure is like none of the others'."""
    first, others = epochs[0], epochs[1:]
    return bool(others) and all(abs(first - other) > STANDS_OUT * other for other in others)


def _phases_left(progress: Progress) -> Cost:
    """Phases, each by how often it comes."""
    cost = NOTHING
    names = {name for epoch in progress.done for name in epoch.phases}
    for name in names:
        at = [number + 1 for number, epoch in enumerate(progress.done) if name in epoch.phases]
        counts = [epoch.phases[name] for epoch in progress.done if name in epoch.phases]
        spent = NOTHING
        for _, each in counts[-3:]:
            spent = spent.plus(each)
        period = (at[-1] - at[0]) / (len(at) - 1) if len(at) > 1 else float(at[0])
        times = max(0.0, (progress.epochs - at[-1]) / period)
        if period > 1:
            times = float(int(times + 1e-9))
        cost = cost.plus(spent.times(times / len(counts[-3:])))
        if progress.open and name in progress.open.phases:
            cost = _less(cost, progress.open.phases[name][1])
    return cost


def steady(stretches: tuple[Stretch, ...]) -> Cost:
    """Return the cost of a step in the youngest stretches, and in older ones as far as the rate keeps coming back.

    A rate that left the youngest one's band and came back (neighbours on the node, clocks that go up and down) will
    do so again: all stretches since then count. One that never was like the youngest (cold input, warming up, growing
    data) is over.
    """
    pieces = coalesced([stretch for stretch in stretches if stretch.steps > 0], MOST_STRETCHES)
    count = max(1, round(len(pieces) * WINDOW))
    rate = _rate(pieces[-count:])
    alike = [abs(piece.cost.energy_j / piece.steps - rate.energy_j) <= ALIKE * rate.energy_j for piece in pieces]
    return _rate(pieces[min(len(pieces) - count, alike.index(True) if True in alike else len(pieces)) :])


def coalesced(stretches: list[Stretch], most: int = 2 * MOST_STRETCHES) -> list[Stretch]:
    """Return the same stretches in at most `most` pieces: neighbours are joined, two by two."""
    while len(stretches) > most:
        odd = stretches[: len(stretches) % 2]
        even = stretches[len(odd) :]
        stretches = odd + [_joined(even[i], even[i + 1]) for i in range(0, len(even), 2)]
    return stretches


def _joined(one: Stretch, two: Stretch) -> Stretch:
    return Stretch(one.steps + two.steps, one.cost.plus(two.cost), one.epoch)


def _rate(pieces: list[Stretch]) -> Cost:
    """The cost of a step."""
    cost, steps = NOTHING, 0.0
    for piece in pieces:
        cost, steps = cost.plus(piece.cost), steps + piece.steps
    return cost.times(1 / steps)


def _less(cost: Cost, other: Cost) -> Cost:
    return Cost(max(0.0, cost.energy_j - other.energy_j), max(0.0, cost.seconds - other.seconds))
