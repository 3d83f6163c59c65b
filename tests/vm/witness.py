# SPDX-License-Identifier: MIT
"""When jobs were on the nodes: what root/etc/slurm/witness.sh noted, read inside the machine and used outside."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Stay(NamedTuple):
    """One run of a job on one node: wall-clock times of its prolog and epilog; None if it did not run."""

    job_id: int
    run: int
    node: str
    start: float | None
    end: float | None


def stays(folder: Path) -> list[Stay]:
    """All stays that the script noted in `<job>.<restarts>.<node>.<prolog|epilog>`."""
    times = {tuple(path.name.rsplit(".", 1)): path.stat().st_mtime for path in folder.iterdir()}
    found = []
    for name in sorted({name for name, _ in times}):
        job, run, node = name.split(".")
        found.append(Stay(int(job), int(run), node, times.get((name, "prolog")), times.get((name, "epilog"))))
    return found
