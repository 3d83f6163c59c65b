# SPDX-License-Identifier: MIT
"""When jobs were on nodes: prolog and epilog scripts on either side of the product's note it for the tests.

On a busy machine a tenth of a second can pass between two scripts, so a stay is as long as two bounds say.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

EVENTS = ("prolog-before", "prolog-after", "epilog-before", "epilog-after")


@dataclass(frozen=True)
class Stay:
    """One run of a job on one node: wall-clock times of the scripts; None for those that did not run (yet)."""

    job_id: int
    node: str
    times: tuple[float | None, ...]

    @property
    def ended(self) -> bool:
        """Whether the job has left the node."""
        return self.times[3] is not None

    @property
    def seconds(self) -> tuple[float, float]:
        """Shortest and longest that the stay can have been. Raises ValueError while it is not over."""
        if None in self.times:
            raise ValueError(f"{self} is not over, or had no prolog")
        earliest, late, early, latest = (time or 0.0 for time in self.times)
        return early - late, latest - earliest


def stays(folder: Path) -> list[Stay]:
    """All stays that the scripts noted in `<job>.<node>.<event>.<process>`, runs of a job in their order."""
    times: dict[tuple[int, str], dict[str, list[float]]] = defaultdict(lambda: {event: [] for event in EVENTS})
    for path in folder.iterdir():
        job, node, event, _ = path.name.split(".")
        times[int(job), node][event].append(path.stat().st_mtime)
    return [
        Stay(job, node, run)
        for (job, node), events in sorted(times.items())
        for run in zip_longest(*(sorted(events[event]) for event in EVENTS))
    ]
