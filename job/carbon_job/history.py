# SPDX-License-Identifier: MIT
"""Keeps the figures of earlier runs in `$XDG_STATE_HOME/carbon-acct/runs.jsonl` of the user.

A line holds one run as a JSON object, the newest last. The file is bounded and never sent anywhere. A file that is
missing, unreadable or damaged means no history.
"""

from __future__ import annotations

import os

from .earlier import Earlier
from .lean import TYPE_CHECKING, NamedTuple
from .prediction import Cost

if TYPE_CHECKING:
    from typing import Any

MOST_RUNS = 200
MOST_BYTES = 1 << 20
MOST_POINTS = 48
STEP = 1.12
"""The factor by which the share done must have grown before the next point is kept."""
NEAR = 0.25
"""The most by which a share may differ from a point's share, relative to the latter, for the point to be used."""


class Point(NamedTuple):
    """The state of a run at one moment: the share done, and the joules and seconds spent and left."""

    share: float
    spent: Cost
    rule: Cost
    """The cost that the rule predicted for the rest."""
    said: Cost
    """The cost that was predicted for the rest with earlier runs considered."""


class Run(NamedTuple):
    """A run that ended normally."""

    key: str
    epochs: int
    total: Cost
    points: tuple[Point, ...]


class Points:
    """The points of the current run."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def add(self, point: Point) -> None:
        """Keep a point if it is far enough from the last one."""
        last = self.points[-1].share if self.points else 0.0
        if point.share > last * STEP and len(self.points) < MOST_POINTS:
            self.points.append(point)


def path(environ: Any = None) -> str:
    """Return the path of the user's history."""
    env = os.environ if environ is None else environ
    state = env.get("XDG_STATE_HOME") or f"{env.get('HOME') or os.path.expanduser('~')}/.local/state"
    return f"{state}/carbon-acct/runs.jsonl"


def load(where: str, key: str) -> list[Run]:
    """Return the earlier runs of the program `key`, the newest first."""
    try:
        with open(where, encoding="utf-8", errors="replace") as file:
            lines = file.read(2 * MOST_BYTES).splitlines()
    except OSError:
        return []
    runs = []
    for line in reversed(lines):
        run = _run(line)
        if run is not None and run.key == key:
            runs.append(run)
    return runs


def save(where: str, run: Run) -> None:
    """Append a run, and drop the oldest runs if there are too many. Raises OSError."""
    import json

    os.makedirs(os.path.dirname(where), mode=0o700, exist_ok=True)
    line = json.dumps(_facts(run), separators=(",", ":")) + "\n"
    fd = os.open(where, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)
    _bound(where)


def _bound(where: str) -> None:
    with open(where, encoding="utf-8", errors="replace") as file:
        lines = file.readlines()
    size = sum(len(line) for line in lines)
    if len(lines) <= MOST_RUNS and size <= MOST_BYTES:
        return
    kept = lines[-MOST_RUNS * 3 // 4 :]
    while sum(len(line) for line in kept) > MOST_BYTES * 3 // 4:
        del kept[0]
    fresh = f"{where}.{os.getpid()}"
    with open(
        os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.writelines(kept)
    os.replace(fresh, where)


def earlier(runs: list[Run], epochs: int, share: float) -> list[Earlier]:
    """Return for each run the predicted and the actual rest at about the same share done, scaled to `epochs`."""
    found = []
    for run in runs:
        point = _near(run, share)
        if point is None:
            continue
        factor = epochs / run.epochs * (1 - share) / (1 - point.share)
        rest = Cost(run.total.energy_j - point.spent.energy_j, run.total.seconds - point.spent.seconds)
        found.append(Earlier(point.rule.times(factor), rest.times(factor)))
    return found


def errors(runs: list[Run], share: float) -> list[tuple[float, float]]:
    """Return for each run actual over predicted rest (energy, seconds) at about the same share done."""
    found = []
    for run in runs:
        point = _near(run, share)
        if point is not None and min(point.said) > 0:
            found.append(
                (
                    (run.total.energy_j - point.spent.energy_j) / point.said.energy_j,
                    (run.total.seconds - point.spent.seconds) / point.said.seconds,
                )
            )
    return found


def _near(run: Run, share: float) -> Point | None:
    points = [point for point in run.points if point.share < 1]
    if not points or not run.epochs:
        return None
    point = min(points, key=lambda point: abs(point.share - share))
    return point if abs(point.share - share) <= NEAR * point.share else None


def _facts(run: Run) -> dict[str, Any]:
    return {
        "version": 1,
        "key": run.key,
        "epochs": run.epochs,
        "total": _numbers(run.total),
        "points": [
            [round(point.share, 6), *_numbers(point.spent), *_numbers(point.rule), *_numbers(point.said)]
            for point in run.points
        ],
    }


def _numbers(cost: Cost) -> list[float]:
    return [round(cost.energy_j, 1), round(cost.seconds, 3)]


def _run(line: str) -> Run | None:
    import json

    try:
        facts = json.loads(line)
        points = tuple(
            Point(share, Cost(*numbers[:2]), Cost(*numbers[2:4]), Cost(*numbers[4:6]))
            for share, *numbers in facts["points"]
        )
        return Run(str(facts["key"]), int(facts["epochs"]), Cost(*map(float, facts["total"])), points)
    except (ValueError, KeyError, TypeError):
        return None
