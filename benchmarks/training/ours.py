# SPDX-License-Identifier: MIT
"""Our rule on the readings of a simulated training, by way of the timeline that a tracked program has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carbon_job.live import Component, Reading
from carbon_job.timeline import Mark, Timeline

from .families import AFTER, BETWEEN, PHASE, SET_UP, STEPS, Training

if TYPE_CHECKING:
    from carbon_job.prediction import Progress

QUANTUM_UJ = 100_000


def progress(training: Training, after: tuple[int, ...]) -> dict[int, Progress]:
    """What the tracker knows when the epochs `after` have ended."""
    run = _Replay(training)
    found = {}
    for piece in training.pieces:
        if piece.kind == AFTER or piece.epoch >= max(after):
            break
        run.take(piece.kind, piece.epoch, piece.steps, piece.seconds, piece.joules)
        number = run.ended
        if number in after and number not in found:
            found[number] = run.before_mark
    run.mark("epoch")
    for number in after:
        found.setdefault(number, run.timeline.progress)
    return found


class _Replay:
    """Moves a timeline on, piece by piece."""

    def __init__(self, training: Training) -> None:
        self.timeline = Timeline(training.epochs, training.steps)
        self.ended = 0
        self._uj, self._now_s, self._steps = 0.0, 0.0, 0
        self._epoch, self._phase = -1, False
        self.mark("start")

    def take(self, kind: str, epoch: int, steps: int, seconds: float, joules: float) -> None:
        """A piece: the marks before it, then its reading."""
        if self._phase and kind != PHASE:
            self.mark("close", "validation")
            self._phase = False
        if kind != SET_UP and epoch > self._epoch:
            self.mark("epoch")
            self.ended, self._epoch, self.before_mark = epoch, epoch, self.timeline.progress
        if kind == PHASE and not self._phase:
            self.mark("begin", "validation")
            self._phase = True
        if kind in (STEPS, BETWEEN, SET_UP, PHASE):
            self._steps += steps
            self._now_s += seconds
            self._uj += joules * 1e6
            self.mark("sample")

    def mark(self, kind: str, name: str = "") -> None:
        """Set a mark, with what the collector would say then."""
        uj = self._uj // QUANTUM_UJ * QUANTUM_UJ
        state = Reading(
            self._now_s * 1e6, self._now_s * 1e6, {"gpu": Component(uj, self._now_s * 1e6, "counter")}, simulated=True
        )
        self.timeline.take(Mark(kind, self._now_s * 1e6, self._now_s, self._steps, name), state)
