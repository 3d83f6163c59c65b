# SPDX-License-Identifier: MIT
"""Eight families of simulated trainings: what makes the first epochs tell little of the whole.

A training is a list of pieces in the order of time. Nothing in it depends on a rule that is to predict it. Times and
powers are drawn widely: epochs of 20 s to 15 min, 8 to 120 of them, 150 W to 3 kW.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

SET_UP, STEPS, PHASE, BETWEEN, AFTER = "set-up", "steps", "phase", "between", "after"
READING_S = 10.0
MOST_CHUNKS = 40


class Piece(NamedTuple):
    """What happened between two readings."""

    kind: str
    epoch: int
    """0 is the first."""
    steps: int
    seconds: float
    watts: float

    @property
    def joules(self) -> float:
        """Its energy."""
        return self.seconds * self.watts


class Training(NamedTuple):
    """One run from its start to its end."""

    family: str
    epochs: int
    steps: int
    pieces: list[Piece]

    @property
    def joules(self) -> float:
        """The energy of all of it."""
        return sum(piece.joules for piece in self.pieces)

    @property
    def seconds(self) -> float:
        """The time of all of it."""
        return sum(piece.seconds for piece in self.pieces)


class Nature(NamedTuple):
    """What a program does each time that it runs; two runs of it differ in the noise alone."""

    family: str
    epochs: int
    steps: int
    epoch_s: float
    watts: float
    noise: float
    set_up_s: float
    cold: tuple[float, float, bool] = (1.0, 1.0, False)
    """First epoch: factors of time and power; whether only its first part is slow."""
    ramp: tuple[float, float] = (0.0, 1.0)
    """Share of the power that comes with warmth, time constant in seconds."""
    slowing: float = 0.0
    """Growth of an epoch's time from the first to the last."""
    change: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """From which share of the epochs on, factors of time and power."""
    validation: tuple[int, float, float, bool] = (0, 0.0, 1.0, True)
    """Every how many epochs, share of an epoch's time, factor of power; whether the program marks it."""
    checkpoint: tuple[int, float] = (0, 0.0)
    """Every how many epochs, seconds."""
    neighbours: tuple[float, float] = (0.0, 1.0)
    """Factor of slowness while others work on the node, minutes that they stay or stay away."""
    evaluation: float = 0.0
    """After the last epoch: share of an epoch's time."""


def nature(family: str, seed: int) -> Nature:
    """Draw a program of a family."""
    rng = random.Random(f"{family} {seed}")
    made = Nature(
        family,
        epochs=round(_log_uniform(rng, 8, 120)),
        steps=round(_log_uniform(rng, 50, 5000)),
        epoch_s=_log_uniform(rng, 20, 900),
        watts=_log_uniform(rng, 150, 3000),
        noise=rng.uniform(0.002, 0.02),
        set_up_s=rng.lognormvariate(math.log(20), 1.3),
    )
    return PECULIAR[family](made, rng)


def _alike(made: Nature, _rng: random.Random) -> Nature:
    return made


def _cold(made: Nature, rng: random.Random) -> Nature:
    return made._replace(cold=(_log_uniform(rng, 1.1, 4.5), rng.uniform(0.6, 0.95), rng.random() < 0.5))


def _ramp(made: Nature, rng: random.Random) -> Nature:
    return made._replace(ramp=(rng.uniform(0.03, 0.2), _log_uniform(rng, 120, 1200)))


def _validating(made: Nature, rng: random.Random) -> Nature:
    every = rng.choice((1, 1, 2, 5))
    return made._replace(
        validation=(every, rng.uniform(0.05, 0.4), rng.uniform(0.6, 1.0), rng.random() < 0.5),
        checkpoint=(rng.choice((1, 5, 10)), rng.uniform(1, 20)),
        evaluation=rng.choice((0.0, 0.3)),
    )


def _slowing(made: Nature, rng: random.Random) -> Nature:
    return made._replace(slowing=_log_uniform(rng, 0.04, 0.8))


def _changing(made: Nature, rng: random.Random) -> Nature:
    return made._replace(change=(rng.uniform(0.15, 0.85), _log_uniform(rng, 0.55, 1.85), rng.uniform(0.85, 1.15)))


def _neighbours(made: Nature, rng: random.Random) -> Nature:
    return made._replace(neighbours=(rng.uniform(1.05, 1.4), _log_uniform(rng, 3, 40)))


def _mixed(made: Nature, rng: random.Random) -> Nature:
    for peculiarity in rng.sample((_cold, _ramp, _validating, _slowing, _changing, _neighbours), 3):
        made = peculiarity(made, rng)
    return made


PECULIAR = {
    "alike": _alike,
    "cold input": _cold,
    "thermal ramp": _ramp,
    "validation": _validating,
    "slowing": _slowing,
    "step change": _changing,
    "neighbours": _neighbours,
    "mixed": _mixed,
}
FAMILIES = tuple(PECULIAR)


def run(made: Nature, seed: int) -> Training:
    """Let a program run once. Other seeds are other runs of the same program."""
    return _Run(made, random.Random(f"{made} {seed}")).training()


class _Run:
    """The state of a run in the making."""

    def __init__(self, made: Nature, rng: random.Random) -> None:
        self.made, self.rng = made, rng
        self.now_s = 0.0
        self.pieces: list[Piece] = []
        self.node = rng.gauss(1.0, 0.01)  # no two nodes draw alike
        self.busy = rng.random() < 0.5
        self.until_s = 0.0

    def training(self) -> Training:
        made = self.made
        self._add(SET_UP, 0, 0, made.set_up_s * self.rng.uniform(0.9, 1.1), 0.4)
        for epoch in range(made.epochs):
            self._epoch(epoch)
        if made.evaluation:
            self._add(AFTER, made.epochs, 0, made.epoch_s * made.evaluation, 0.8)
        return Training(made.family, made.epochs, made.steps, self.pieces)

    def _epoch(self, epoch: int) -> None:
        made = self.made
        share = epoch / max(1, made.epochs - 1)
        chunks = max(4, min(MOST_CHUNKS, made.steps, round(made.epoch_s / READING_S)))
        jitter = self.rng.gauss(1.0, made.noise / 2)
        for chunk in range(chunks):
            steps = made.steps * (chunk + 1) // chunks - made.steps * chunk // chunks
            time, power = self._cold(epoch, chunk / chunks)
            if share >= made.change[0]:
                time, power = time * made.change[1], power * made.change[2]
            time *= (1 + made.slowing * share) * self._neighbours() * jitter
            self._add(STEPS, epoch, steps, made.epoch_s * steps / made.steps * time, power)
        every, length, power, marked = made.validation
        if every and (epoch + 1) % every == 0:
            for _ in range(3):
                kind = PHASE if marked else BETWEEN
                self._add(kind, epoch, 0, made.epoch_s * length / 3 * self._neighbours(), power)
        if made.checkpoint[0] and (epoch + 1) % made.checkpoint[0] == 0:
            self._add(BETWEEN, epoch, 0, made.checkpoint[1] * self.rng.uniform(0.8, 1.3), 0.4)

    def _cold(self, epoch: int, share: float) -> tuple[float, float]:
        time, power, early = self.made.cold
        if epoch or (early and share > 0.5):
            return 1.0, 1.0
        return time, power

    def _neighbours(self) -> float:
        factor, minutes = self.made.neighbours
        if not factor:
            return 1.0
        while self.now_s >= self.until_s:
            self.busy = not self.busy
            self.until_s += self.rng.expovariate(1 / (60 * minutes))
        return factor if self.busy else 1.0

    def _add(self, kind: str, epoch: int, steps: int, seconds: float, power: float) -> None:
        made = self.made
        warm = 1 - made.ramp[0] * math.exp(-self.now_s / made.ramp[1])
        watts = made.watts * self.node * power * warm * self.rng.gauss(1.0, made.noise)
        seconds *= max(0.5, self.rng.gauss(1.0, made.noise))
        self.pieces.append(Piece(kind, epoch, steps, seconds, watts))
        self.now_s += seconds


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
