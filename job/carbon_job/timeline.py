# SPDX-License-Identifier: MIT
"""Follows the marks of a program and computes what each epoch, phase and span used. Pure, no I/O.

The energy of an epoch counts from its mark to the next epoch's mark, so what lies between epochs (validation,
checkpoints, input) is included. Time in which the program paused counts nowhere.
"""

from __future__ import annotations

from .energy import Energy, added, between
from .lean import NamedTuple
from .live import Reading
from .prediction import Cost, EpochCost, Progress, Stretch, coalesced

NOTHING = Energy(0.0, {})
SLOT_S = 900
"""The seconds of a slot. Slots are aligned to UTC."""
RUN = "run"
EPOCH = "epoch"


class Mark(NamedTuple):
    """A moment that the program marked."""

    kind: str
    """The kind: `start`, `epoch`, `end` (of the last epoch), `begin` and `close` (of a phase or span), `pause`,
    `resume`, `sample` (nothing but a reading), `finish`, or `cut` if the program was told to end.
    """
    time_us: float
    """The Unix time."""
    clock_s: float
    """The time of the monotonic clock, from which durations are computed."""
    steps: float = 0
    """The steps done since the start."""
    name: str = ""


class Span(NamedTuple):
    """A span of the program and what it used: the run, an epoch, a phase."""

    name: str
    number: int
    """The number of this epoch, phase or span among those of its name, from 1 on. Unfinished ones count too."""
    path: str
    """The names of the spans around it and its own, with slashes: `epoch/validation`."""
    begin_us: float
    energy: Energy
    """The energy. Its `seconds` are those of the monotonic clock."""
    steps: float = 0
    slots: tuple[tuple[int, float], ...] = ()
    """The energy by slot: (Unix time at which the slot of 15 minutes begins, microjoules)."""
    complete: bool = True
    """Whether it ended normally; False for one that was cut off because the program was told to end."""


class _Open:
    """A span that has begun and not ended."""

    def __init__(self, name: str, number: int, mark: Mark) -> None:
        self.name, self.number, self.mark = name, number, mark
        self.energy = NOTHING
        self.slots: dict[int, float] = {}

    def add(self, part: Energy, begin_us: float, end_us: float) -> None:
        """Add the energy between two moments."""
        self.energy = added(self.energy, part)
        energy_uj = part.energy_uj
        if energy_uj is None:
            return
        for slot, share in shares(begin_us, end_us):
            self.slots[slot] = self.slots.get(slot, 0.0) + share * energy_uj


def shares(begin_us: float, end_us: float) -> list[tuple[int, float]]:
    """Return the slots between two moments, each with its share of the time between them."""
    begin_s, end_s = begin_us / 1e6, max(begin_us, end_us) / 1e6
    slot = int(begin_s // SLOT_S) * SLOT_S
    if end_s <= slot + SLOT_S:
        return [(slot, 1.0)]
    found = []
    while slot < end_s:
        found.append((slot, (min(end_s, slot + SLOT_S) - max(begin_s, slot)) / (end_s - begin_s)))
        slot += SLOT_S
    return found


def _diluted(energy: Energy, first: Reading, last: Reading, mark: Mark) -> Energy:
    """Return an energy with its coverage reduced if the last reading lies before the mark: the time after it was not
    metered.
    """
    late_us, read_us = mark.time_us - last.time_us, last.time_us - first.time_us
    if late_us <= 0 or last.held_us <= 0:
        return energy
    share = max(0.0, read_us) / (max(0.0, read_us) + late_us)
    parts = {name: part._replace(coverage=(part.coverage or 0.0) * share) for name, part in energy.parts.items()}
    return energy._replace(parts=parts)


class Timeline:
    """The state of one tracked run. `take` must be called with each mark in the order of time."""

    def __init__(self, epochs: int = 0, steps: int = 0) -> None:
        self.epochs, self.steps = epochs, steps
        self.spans: list[_Open] = []
        self.paused = False
        self._mark: Mark | None = None
        self._state: Reading | None = None
        self._numbers: dict[str, int] = {}
        self._done: list[EpochCost] = []
        self._epoch: EpochCost | None = None
        self._before = Cost(0.0, 0.0)
        self._after = Cost(0.0, 0.0)
        self._stretches: list[Stretch] = []
        self._times: list[Stretch] = []
        self._run = Span(RUN, 1, RUN, 0.0, NOTHING, complete=False)

    @property
    def total(self) -> Energy:
        """Return the energy of the run, up to the last mark while it goes on."""
        return self.so_far.energy

    @property
    def so_far(self) -> Span:
        """Return the span of the run: up to the last mark while it goes on, else to its end."""
        if not self.spans:
            return self._run
        run = self.spans[0]
        steps = self.marked_steps - run.mark.steps
        return Span(RUN, 1, RUN, run.mark.time_us, run.energy, steps, tuple(sorted(run.slots.items())), complete=False)

    @property
    def epoch(self) -> int:
        """Return the number of the open epoch, else of the last one; 0 before the first."""
        return self._numbers.get(EPOCH, 0)

    @property
    def progress(self) -> Progress:
        """Return the state from which the run is predicted."""
        return Progress(
            self.epochs,
            self.steps,
            tuple(self._done),
            self._epoch,
            self._before,
            self._after,
            tuple(self._stretches),
            tuple(self._times),
        )

    @property
    def clock_s(self) -> float:
        """Return the monotonic time of the last mark."""
        return self._mark.clock_s if self._mark else 0.0

    @property
    def marked_steps(self) -> float:
        """Return the steps that were done at the last mark."""
        return self._mark.steps if self._mark else 0.0

    def take(self, mark: Mark, state: Reading | None) -> list[Span]:
        """Take a mark, and the state of the job's counters at it (None: not known).

        Returns the spans that ended at the mark, the innermost first.
        """
        self._move(mark, state)
        ended: list[Span] = []
        if mark.kind == "start" and not self.spans:
            self._open(RUN, mark)
        elif mark.kind in ("epoch", "end"):
            ended = self._close_epoch(mark, complete=True)
            if mark.kind == "epoch" and self.spans:
                self._open(EPOCH, mark)
                self._epoch = EpochCost(Cost(0.0, 0.0), 0.0, {})
        elif mark.kind == "begin" and self.spans:
            self._open(mark.name, mark)
            if len(self.spans) == self._depth + 1:
                self._count_phase(mark.name)
        elif mark.kind == "close":
            ended = self._close_span(mark)
        elif mark.kind == "pause":
            self.paused = True
        elif mark.kind == "resume":
            self.paused = False
        elif mark.kind in ("finish", "cut"):
            ended = self._finish(mark)
        return ended

    @property
    def _depth(self) -> int:
        """Return the number of open spans that are no phases: the run, and the epoch if one is open."""
        return 2 if len(self.spans) > 1 and self.spans[1].name == EPOCH else 1

    def _open(self, name: str, mark: Mark) -> None:
        self._numbers[name] = self._numbers.get(name, 0) + 1
        self.spans.append(_Open(name, self._numbers[name], mark))

    def _pop(self, mark: Mark, complete: bool) -> Span:
        path = "/".join(span.name for span in self.spans[1:]) or RUN
        span = self.spans.pop()
        ended = Span(
            span.name,
            span.number,
            path,
            span.mark.time_us,
            span.energy,
            mark.steps - span.mark.steps,
            tuple(sorted(span.slots.items())),
            complete,
        )
        if not self.spans:
            self._run = ended
        return ended

    def _close_span(self, mark: Mark) -> list[Span]:
        """Close the innermost span of the mark's name, with the open spans inside it, and return them."""
        names = [span.name for span in self.spans]
        if mark.name not in names[self._depth :]:
            return []
        where = len(names) - 1 - names[::-1].index(mark.name)
        return [self._pop(mark, complete=True) for _ in range(len(self.spans) - where)]

    def _close_epoch(self, mark: Mark, complete: bool) -> list[Span]:
        if self._depth == 1:
            return []
        ended = [self._pop(mark, complete) for _ in range(len(self.spans) - 1)]
        if self._epoch is not None:
            if complete:
                self._done.append(self._epoch)
            self._epoch = None
        return ended

    def _finish(self, mark: Mark) -> list[Span]:
        ended = self._close_epoch(mark, complete=mark.kind == "finish")
        return ended + [self._pop(mark, complete=mark.kind == "finish") for _ in range(len(self.spans))]

    def _move(self, mark: Mark, state: Reading | None) -> None:
        """Add the energy and time between the last mark and this one to all open spans."""
        if self._mark is not None and self.spans and not self.paused:
            seconds = max(0.0, mark.clock_s - self._mark.clock_s)
            part = NOTHING
            if state is not None and self._state is not None:
                part = _diluted(between(self._state, state), self._state, state, mark)
            part = part._replace(seconds=seconds)
            for span in self.spans:
                span.add(part, self._mark.time_us, mark.time_us)
            if state is not None and self._state is not None:
                self._learn(Cost((part.energy_uj or 0.0) / 1e6, seconds), mark.steps - self._mark.steps)
            else:
                self._learn(Cost(0.0, seconds), mark.steps - self._mark.steps)
        self._mark = mark
        if state is not None or mark.kind in ("start", "resume"):
            self._state = state

    def _learn(self, cost: Cost, steps: float) -> None:
        """Assign the cost of a stretch to what it belongs to, for the prediction: before, between or in epochs, or a
        phase.
        """
        if cost.seconds > 0:
            self._times = coalesced([*self._times, Stretch(cost.seconds, cost, len(self._done))])
        phase = self.spans[self._depth].name if len(self.spans) > self._depth else ""
        if self._epoch is None:
            if self._done:
                self._after = self._after.plus(cost)
            else:
                self._before = self._before.plus(cost)
        elif phase:
            count, spent = self._epoch.phases.get(phase, (0, Cost(0.0, 0.0)))
            self._epoch.phases[phase] = (count, spent.plus(cost))
        else:
            epoch = self._epoch
            idle = epoch.idle if steps else epoch.idle.plus(cost)
            self._epoch = epoch._replace(body=epoch.body.plus(cost), steps=epoch.steps + steps, idle=idle)
            if steps:
                self._stretches = coalesced([*self._stretches, Stretch(steps, cost, len(self._done))])

    def _count_phase(self, name: str) -> None:
        if self._epoch is not None:
            count, spent = self._epoch.phases.get(name, (0, Cost(0.0, 0.0)))
            self._epoch.phases[name] = (count + 1, spent)
