# SPDX-License-Identifier: MIT
"""When jobs were on nodes, to the kernel's tick: a second prolog and epilog script notes it for the tests."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path


@dataclass(frozen=True)
class Stay:
    """One run of a job on one node: wall-clock times of its prolog and epilog; None if it did not run (yet)."""

    job_id: int
    node: str
    start: float | None
    end: float | None

    @property
    def seconds(self) -> float:
        """Length of the stay. Raises ValueError if it has no start or no end."""
        if self.start is None or self.end is None:
            raise ValueError(f"{self} has no start or no end")
        return self.end - self.start


def stays(folder: Path) -> list[Stay]:
    """All stays that the scripts noted in `<job>.<node>.<prolog|epilog>.<process>`, runs of a job in their order."""
    times: dict[tuple[int, str], dict[str, list[float]]] = defaultdict(lambda: {"prolog": [], "epilog": []})
    for path in folder.iterdir():
        job, node, kind, _ = path.name.split(".")
        times[int(job), node][kind].append(path.stat().st_mtime)
    return [
        Stay(job, node, start, end)
        for (job, node), kinds in sorted(times.items())
        for start, end in zip_longest(sorted(kinds["prolog"]), sorted(kinds["epilog"]))
    ]
