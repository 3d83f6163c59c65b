# SPDX-License-Identifier: MIT
"""How long programs take that people type: started anew each time, from their start to the end of their output."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Took(NamedTuple):
    """Median milliseconds on the wall, lines of output, and the least CPU time of a run in milliseconds: of the program,
    and of this process, in which the aggregator serves.
    """

    ms: float
    lines: int
    cpu_ms: float


def took(command: Sequence[str], env: Mapping[str, str], runs: int) -> Took:
    """Run a program some times. The first run, which brings the pages in, does not count."""
    times, used = [], []
    lines = 0
    for _ in range(runs + 1):
        began, cpu_s = time.perf_counter(), _cpu_s()
        done = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False)
        times.append((time.perf_counter() - began) * 1000)
        used.append((_cpu_s() - cpu_s) * 1000)
        if done.returncode or done.stderr:
            raise SystemExit(f"{' '.join(command)}: {done.stderr or done.returncode}")
        lines = len(done.stdout.splitlines())
    return Took(statistics.median(times[1:]), lines, min(used))


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
