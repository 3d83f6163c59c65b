# SPDX-License-Identifier: MIT
"""Predicts a run while it goes on: the rule of `prediction`, corrected by earlier runs, with its interval."""

from __future__ import annotations

from . import history, intervals
from .earlier import corrected, scatter
from .lean import NamedTuple
from .prediction import Cost, Progress, rest, rest_until, stretches_of

EARLY = 0.05
"""The share of a time, below which a prediction over that time is provisional: programs begin by reading and loading."""


class Prediction(NamedTuple):
    """The prediction of a whole run. Its interval holds nine times out of ten."""

    energy_j: float
    lower_j: float
    upper_j: float
    seconds_left: float
    seconds_left_lower: float
    seconds_left_upper: float
    rest: Cost
    """The rest: the part of `energy_j`, and of the time, that is still to come."""
    share: float
    """The share of the epochs, or of the time, that is done."""
    runs: int
    """The number of earlier runs that were used."""
    provisional: bool
    """Whether the prediction is provisional: before the second epoch without earlier runs, since the first epoch is often
    unlike the others; of a run without epochs before EARLY of its time.
    """

    def times(self, factor: float) -> Prediction:
        """Return the prediction with `factor` times the energy, for all nodes instead of one."""
        return self._replace(
            energy_j=self.energy_j * factor,
            lower_j=self.lower_j * factor,
            upper_j=self.upper_j * factor,
            rest=Cost(self.rest.energy_j * factor, self.rest.seconds),
        )


class Outlook:
    """Predicts one run. `key` names its program; `where` is the path of the history, empty for none."""

    def __init__(self, key: str, where: str, until_s: float | None = None) -> None:
        self._key, self._where, self._until_s = key, where, until_s
        self._runs: list[history.Run] = []
        self._table: list[intervals.Row] = []
        self._loaded = False
        self._points = history.Points()

    def predict(self, progress: Progress, now_s: float) -> Prediction | None:
        """Return the prediction at Unix time `now_s`, or None if it is too early to tell."""
        self._load()
        by_rule, share = self._rest(progress, now_s)
        if by_rule is None or share is None:
            return None
        like = history.earlier(self._runs, progress.epochs, share)[: history.MOST_RUNS] if progress.epochs else []
        said = corrected(by_rule, stretches_of(progress), like)
        spent = progress.spent
        if 0 < share < 1:
            self._points.add(history.Point(share, spent, by_rule, said))
        energy, seconds = self._bounds(progress, share, len(like))
        return Prediction(
            spent.energy_j + said.energy_j,
            spent.energy_j + said.energy_j * energy[0],
            spent.energy_j + said.energy_j * energy[1],
            said.seconds,
            said.seconds * seconds[0],
            said.seconds * seconds[1],
            said,
            share,
            len(like),
            not like and (len(progress.done) < 2 if progress.epochs else share < EARLY),
        )

    def _load(self) -> None:
        """Read the earlier runs and the table of intervals, once: the recorder's thread does, not `track()`."""
        if self._loaded:
            return
        self._loaded = True
        self._runs = history.load(self._where, self._key) if self._where else []
        try:
            self._table = intervals.table()
        except (OSError, ValueError):
            self._table = []

    def keep(self, progress: Progress) -> None:
        """Write the run into the history, if all of its epochs are done. Raises OSError."""
        spent = progress.spent
        if self._where and progress.epochs and len(progress.done) == progress.epochs and spent.energy_j > 0:
            run = history.Run(self._key, progress.epochs, spent, tuple(self._points.points))
            history.save(self._where, run)

    def _rest(self, progress: Progress, now_s: float) -> tuple[Cost | None, float | None]:
        if progress.epochs:
            return rest(progress), progress.share
        if self._until_s is None:
            return None, None
        left_s = max(0.0, self._until_s - now_s)
        return rest_until(progress, left_s), progress.spent.seconds / max(1e-9, progress.spent.seconds + left_s)

    def _bounds(self, progress: Progress, share: float, runs: int) -> tuple[tuple[float, float], tuple[float, float]]:
        own = history.errors(self._runs, share)
        if len(own) >= intervals.OWN:
            return intervals.own([energy for energy, _ in own]), intervals.own([seconds for _, seconds in own])
        basis = intervals.basis(len(progress.done), runs, scatter(stretches_of(progress), 0))
        by_table = intervals.bounds(self._table, basis, share)
        return by_table, by_table
