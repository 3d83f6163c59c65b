# SPDX-License-Identifier: MIT
"""When jobs were on nodes, to the kernel's tick: a second prolog and epilog script notes it for the tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stay:
    """One run of a job on one node: wall-clock times of its prolog and epilog; None if it did not run (yet)."""

    job_id: int
    run: int
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
    """All stays that the scripts noted in `<job>.<restarts>.<node>.<prolog|epilog>`."""
    times = {tuple(path.name.rsplit(".", 1)): path.stat().st_mtime for path in folder.iterdir()}
    found = []
    for name in sorted({name for name, _ in times}):
        job, run, node = name.split(".")
        found.append(Stay(int(job), int(run), node, times.get((name, "prolog")), times.get((name, "epilog"))))
    return found
