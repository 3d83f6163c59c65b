# SPDX-License-Identifier: MIT
"""When jobs were on the nodes: what root/etc/slurm/witness.sh noted, read inside the machine and used outside."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Between(NamedTuple):
    """The product's hook ran between these two wall-clock times: one script of the witness runs before it, one after."""

    low: float
    high: float


class Stay(NamedTuple):
    """One run of a job on one node: when its prolog and its epilog ran; None if it did not."""

    job_id: int
    run: int
    node: str
    start: Between | None
    end: Between | None


def stays(folder: Path) -> list[Stay]:
    """All stays that the script noted in `<job>.<restarts>.<node>.<prolog|epilog>.<a|z>`."""
    times = {path.name: path.stat().st_mtime for path in folder.iterdir()}
    found = []
    for name in sorted({name.rsplit(".", 2)[0] for name in times}):
        job, run, node = name.split(".")
        found.append(
            Stay(int(job), int(run), node, _between(times, f"{name}.prolog"), _between(times, f"{name}.epilog"))
        )
    return found


def from_json(stay: list[object]) -> Stay:
    """What JSON has made of a stay."""
    job_id, run, node, start, end = stay
    return Stay(job_id, run, node, *(at and Between(*at) for at in (start, end)))


def _between(times: dict[str, float], name: str) -> Between | None:
    pair = times.get(f"{name}.a"), times.get(f"{name}.z")
    return None if None in pair else Between(*sorted(pair))
