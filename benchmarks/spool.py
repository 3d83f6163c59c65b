# SPDX-License-Identifier: MIT
"""How long an aggregator may be away: days of a node's records that its spool holds, as sealed and as compacted.

Virtual time; the collector's own rows, batches, spool and compactor. A node is full of jobs that run for a given time each;
a segment is sealed at each border of a slot and, as the daemon does, at each end of a job.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from table import render

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from carbon_collector.log import Log
from carbon_collector.spool.compactor import Compactor
from carbon_collector.spool.segment import Spare
from collector.history import FAST, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_MIB = 256
SLOT_S = 900
DAY_S = 86_400
ALWAYS = 0.0


class Load(NamedTuple):
    """How many jobs run at a time, and for how many hours each; ALWAYS: they never end."""

    jobs: int
    hours: float


class Quiet(Log):
    """Nobody listens."""

    def line(self, _message: str) -> None:
        """Say nothing."""


LOADS = [Load(jobs, hours) for jobs in (8, 64) for hours in (ALWAYS, 24.0, 1.0, 1 / 6)]


def life(node: Node, load: Load) -> Iterator[int]:
    """Let time pass from one end of a job, or border of a slot, to the next: seconds so far, after each segment."""
    chance = random.Random(1)  # noqa: S311 - a schedule
    begin, length_s = node.now, int(load.hours * 3600) or 1 << 40
    ends = {node.open(): begin + chance.randrange(1, length_s + 1) for _ in range(load.jobs)}
    while True:
        until = min([node.now // SLOT_S * SLOT_S + SLOT_S, *ends.values()])
        if until > node.now:
            node.interval(until - node.now)
        for job_id in [job_id for job_id, end in ends.items() if end <= until]:
            node.close(job_id)
            del ends[job_id]
            ends[node.open()] = until + length_s
        if not node.flush():
            raise RuntimeError("the spool takes nothing")
        yield until - begin


def sizes(load: Load, span_s: int) -> list[float]:
    """Bytes a day: as sealed, joined, in rows of hours, in rows of days."""
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        node = quiet(Path(folder), 1 << 40)
        sealed, took_s = 0, 0
        for took_s in life(node, load):
            sealed += sum(map(len, node.sealed))
            node.sealed.clear()
            if took_s >= span_s:
                break
        compactor = Compactor(node.spool)
        spare = Spare(node.books.stream, node.books.last_sealed, node.numbers, node.now, node.log)
        found = [sealed]
        for step in (compactor._join, compactor._to_hours, compactor._to_days):
            while step(spare):
                pass
            found.append(node.spool.size())
        return [size * DAY_S / took_s for size in found]


def filled(load: Load, limit: int) -> float:
    """Days until a spool of so many bytes has to drop something."""
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        node = quiet(Path(folder), limit)
        for took_s in life(node, load):
            node.sealed.clear()
            if node.books.sequence % 16 == 0 and node.lost()["rows"]:
                return took_s / DAY_S
    raise RuntimeError("a life has no end")


def quiet(folder: Path, limit: int) -> Node:
    """A node that says nothing."""
    node = Node(folder, limit)
    node.log = Quiet("")
    return node


def row(load: Load, options: argparse.Namespace) -> list[str]:
    """A line of the table."""
    span_s = int(options.hours * 3600) if load.hours in (ALWAYS, 24.0) else 6 * 3600
    limit = options.mib << 20
    found = sizes(load, span_s)
    run = filled(load, options.fill << 20) * options.mib / options.fill
    length = "always" if load.hours == ALWAYS else f"{load.hours:.2g} h each"
    days = [f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in (*(limit / size for size in found), run)]
    return [str(load.jobs), length, f"{found[0] / 1e6:.2f}", *days]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mib", type=int, default=DEFAULT_MIB, help="[collector] spool_limit (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=72, help="virtual time of long jobs (default: %(default)s)")
    parser.add_argument("--fill", type=int, default=4, help="MiB that are filled until the first drop (%(default)s)")
    options = parser.parse_args()
    head = ["jobs", "each runs", "MB/day as sealed"]
    head += [f"days in {options.mib} MiB as sealed", "joined", "rows of hours", "rows of days", "first drop (run)"]
    print(render(head, [row(load, options) for load in LOADS]))


if __name__ == "__main__":
    main()
