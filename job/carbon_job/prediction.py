# SPDX-License-Identifier: MIT
"""Predicts the energy and time of a run at its end. Pure arithmetic, no I/O.

The prediction is what was used so far, plus what is left at the steady rate. `benchmarks/tracking.py` compares this
rule with those of other tools on simulated trainings.
"""

from __future__ import annotations

from .lean import NamedTuple

MOST_STRETCHES = 32
WINDOW = 0.25
"""The share of the stretches, the youngest, from which the steady rate is computed."""
ALIKE = 0.06
"""The share by which the rate of older stretches may differ from that of the youngest for them to count as well."""
STANDS_OUT = 0.10
"""The share by which a first epoch must differ from all others to be left out."""


class Cost(NamedTuple):
    """A cost in joules and seconds. The same rule predicts both."""

    energy_j: float
    seconds: float

    def plus(self, other: Cost) -> Cost:
        """Return the sum of two costs."""
        return Cost(self.energy_j + other.energy_j, self.seconds + other.seconds)

    def times(self, factor: float) -> Cost:
        """Return the cost multiplied by `factor`."""
        return Cost(self.energy_j * factor, self.seconds * factor)


NOTHING = Cost(0.0, 0.0)


class Stretch(NamedTuple):
    """A piece of an epoch outside its phases: the steps made, their cost, and the number of epochs that were complete
    before.
    """

    steps: float
    cost: Cost
    epoch: int


class EpochCost(NamedTuple):
    """The cost of an epoch: of its body, and of its phases by name as (number, cost)."""

    body: Cost
    steps: float
    phases: dict[str, tuple[int, Cost]]
    idle: Cost = NOTHING
    """The cost of the body's parts without steps: checkpoints, a validation that is not marked as a phase."""

    @property
    def whole(self) -> Cost:
        """Return the cost of body and phases."""
        cost = self.body
        for _, spent in self.phases.values():
            cost = cost.plus(spent)
        return cost


class Progress(NamedTuple):
    """The state of a run at some moment."""

    epochs: int
    """The number of epochs of the run; 0 if it is not known."""
    steps: int
    """The number of steps of an epoch; 0 if it is not known."""
    done: tuple[EpochCost, ...]
    open: EpochCost | None
    """The cost of the current epoch so far."""
    before: Cost
    """The cost before the first epoch (set-up)."""
    after: Cost
    """The cost between epochs: after the end of one and before the next."""
    stretches: tuple[Stretch, ...]
    """The stretches with steps, oldest first."""
    times: tuple[Stretch, ...] = ()
    """The stretches of the whole time, oldest first; each second counts as a step."""

    @property
    def spent(self) -> Cost:
        """Return the cost of the run so far."""
        cost = self.before.plus(self.after)
        for epoch in (*self.done, *((self.open,) if self.open else ())):
            cost = cost.plus(epoch.whole)
        return cost

    @property
    def share(self) -> float | None:
        """Return the share of the epochs that is done, or None if their number is not known. Steps count in an epoch
        that has begun.
        """
        if not self.epochs:
            return None
        begun = self.open.steps / self.steps if self.open and self.steps else 0.0
        return min(1.0, (len(self.done) + min(1.0, begun)) / self.epochs)


def rest(progress: Progress) -> Cost | None:
    """Return the cost of what is still to come, or None if that cannot be predicted.

    It cannot if the number of epochs is not known. It cannot before the end of the first epoch if the number of its
    steps is not known.
    """
    left = progress.epochs - len(progress.done)
    if not progress.epochs or (not progress.done and not (progress.steps and progress.stretches)):
        return None
    if left <= 0:
        return NOTHING
    body = _steps_left(progress, left) if progress.stretches else _epochs_left(progress, left)
    return body.plus(_phases_left(progress))


def rest_until(progress: Progress, seconds: float) -> Cost | None:
    """Return the cost of the next `seconds`, or None before anything is known."""
    if not progress.times or seconds < 0:
        return None
    return Cost(steady(progress.times).energy_j * seconds, seconds)


def stretches_of(progress: Progress) -> tuple[Stretch, ...]:
    """Return the stretches that the rate is computed from: those with steps, else the epochs, else the whole time."""
    epochs = tuple(Stretch(1.0, epoch.body, number) for number, epoch in enumerate(progress.done))
    return progress.stretches or epochs or progress.times


def _steps_left(progress: Progress, left: int) -> Cost:
    """Return the cost of the steps that are left at the steady rate, and of what lies between them as often as
    so far.
    """
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
    """Return the cost of the epochs that are left, if they are like those so far."""
    bodies = [Stretch(1.0, epoch.body, number) for number, epoch in enumerate(progress.done)]
    each = steady(tuple(bodies[1:] if first_stands_out([body.cost.energy_j for body in bodies]) else bodies))
    return _less(each.times(left), progress.open.body if progress.open else NOTHING)


def first_stands_out(epochs: list[float]) -> bool:
    """Return whether the first epoch's figure differs from that of every other one by more than STANDS_OUT."""
    first, others = epochs[0], epochs[1:]
    return bool(others) and all(abs(first - other) > STANDS_OUT * other for other in others)


def _phases_left(progress: Progress) -> Cost:
    """Return the cost of the phases that are left, each by how often it occurred."""
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
    """Return the cost of a step: over the youngest stretches, and older ones as long as the rate keeps coming back.

    A rate that left the youngest one's band and came back (neighbours on the node, clocks that go up and down) will do
    so again, so all stretches since then count. A rate that was never like the youngest (cold input, warming up,
    growing data) is over, and does not count.
    """
    pieces = coalesced([stretch for stretch in stretches if stretch.steps > 0], MOST_STRETCHES)
    count = max(1, round(len(pieces) * WINDOW))
    rate = _rate(pieces[-count:])
    alike = [abs(piece.cost.energy_j / piece.steps - rate.energy_j) <= ALIKE * rate.energy_j for piece in pieces]
    return _rate(pieces[min(len(pieces) - count, alike.index(True) if True in alike else len(pieces)) :])


def coalesced(stretches: list[Stretch], most: int = 2 * MOST_STRETCHES) -> list[Stretch]:
    """Return the stretches in at most `most` pieces. Neighbours are joined, two by two."""
    while len(stretches) > most:
        odd = stretches[: len(stretches) % 2]
        even = stretches[len(odd) :]
        stretches = odd + [_joined(even[i], even[i + 1]) for i in range(0, len(even), 2)]
    return stretches


def _joined(one: Stretch, two: Stretch) -> Stretch:
    return Stretch(one.steps + two.steps, one.cost.plus(two.cost), one.epoch)


def _rate(pieces: list[Stretch]) -> Cost:
    """Return the mean cost of a step."""
    cost, steps = NOTHING, 0.0
    for piece in pieces:
        cost, steps = cost.plus(piece.cost), steps + piece.steps
    return cost.times(1 / steps)


def _less(cost: Cost, other: Cost) -> Cost:
    return Cost(max(0.0, cost.energy_j - other.energy_j), max(0.0, cost.seconds - other.seconds))
