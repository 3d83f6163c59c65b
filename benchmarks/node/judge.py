# SPDX-License-Identifier: MIT
"""The jobs of several seeds, and the errors of every rule over them: of its measurement, and of its policy against ours.

It judges joules that others have reckoned; it knows no rule and reads no register.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from table import percentile

from . import schedule

if TYPE_CHECKING:
    from .physics import Node

SHORT_CLASSES = {"1-10 s": (1.0, 10.0), "10-60 s": (10.0, 60.0), "60-300 s": (60.0, 301.0)}
LONG_CLASSES = {"20-60 min": (1200.0, 3600.0), "60-98 min": (3600.0, 6001.0)}
TIMES = 20.0
"""How much longer the jobs of the long classes are than those of the short ones."""
SEED_CLASS = "60-300 s"
"""The class whose medians are shown seed by seed."""
TAIL_S = 30.0
"""How long a node is watched after its last job."""


class Study(NamedTuple):
    """All nodes; JobIDs by class; JobIDs of `SEED_CLASS` by seed."""

    nodes: list[Node]
    classes: dict[str, list[int]]
    seeds: list[list[int]]


@dataclass(frozen=True)
class Size:
    """How large a study is: seeds, nodes of each, jobs of a node, seconds in which they come."""

    seeds: int
    nodes: int
    jobs: int
    span_s: float


def study(size: Size) -> Study:
    """Return every seed's short jobs, and beside them on nodes of their own the same jobs `TIMES` as long."""
    nodes, by_class, by_seed = [], {label: [] for label in [*SHORT_CLASSES, *LONG_CLASSES]}, []
    for number in range(size.seeds):
        first = 2 * number * size.nodes
        short = schedule.make(number + 1, size.nodes, size.jobs, size.span_s, first=first)
        long = schedule.make(number + 1, size.nodes, size.jobs, size.span_s, TIMES, first + size.nodes)
        for label, of_seed in [*_classes(short, SHORT_CLASSES), *_classes(long, LONG_CLASSES)]:
            by_class[label] += of_seed
            by_seed += [of_seed] if label == SEED_CLASS else []
        nodes += short + long
    return Study(nodes, by_class, by_seed)


def short_study(size: Size, arrays: bool = False) -> Study:
    """Return every seed's short jobs alone."""
    nodes, by_class = [], {label: [] for label in SHORT_CLASSES}
    for number in range(size.seeds):
        made = schedule.make(number + 1, size.nodes, size.jobs, size.span_s, first=number * size.nodes, arrays=arrays)
        for label, of_seed in _classes(made, SHORT_CLASSES):
            by_class[label] += of_seed
        nodes += made
    return Study(nodes, by_class, [])


def _classes(nodes: list[Node], classes: dict[str, tuple[float, float]]) -> list[tuple[str, list[int]]]:
    jobs = [job for node in nodes for job in node.jobs]
    return [
        (label, [job.job_id for job in jobs if low <= job.stop_s - job.start_s < high])
        for label, (low, high) in classes.items()
    ]


def end_of(node: Node) -> float:
    """Return until when a node is watched, in seconds since its boot."""
    return max(job.close_s for job in node.jobs) + TAIL_S


def errors(found: dict[int, float], true: dict[int, float]) -> dict[int, float]:
    """Return the error of each job in percent of what is true. A job that is not found got nothing.

    A job that should get nothing has no relative error and is left out.
    """
    return {job_id: 100 * (found.get(job_id, 0.0) / j - 1) for job_id, j in true.items() if j > 0}


def spread(signed: dict[int, float], jobs: list[int] | None, percents: tuple[int, ...]) -> str:
    """Return percentiles of the absolute errors of these jobs (`None`: all), for a cell of the table."""
    chosen = [abs(signed[j]) for j in (signed if jobs is None else jobs) if j in signed]
    return " ".join(percent(percentile(chosen, p)) for p in percents) if chosen else "-"


def percent(error: float) -> str:
    """Return three figures in five characters."""
    return f"{error:5.{max(0, 2 - len(str(int(error))) + 1)}f}"
