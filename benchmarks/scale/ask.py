# SPDX-License-Identifier: MIT
"""How long programs take that people type: started anew each time, from their start to the end of their output."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Took(NamedTuple):
    """Median milliseconds on the wall, and lines of output."""

    ms: float
    lines: int


def took(command: Sequence[str], env: Mapping[str, str], runs: int) -> Took:
    """Run a program some times. The first run, which brings the pages in, does not count."""
    times = []
    lines = 0
    for _ in range(runs + 1):
        began = time.perf_counter()
        done = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False)
        times.append((time.perf_counter() - began) * 1000)
        if done.returncode or done.stderr:
            raise SystemExit(f"{' '.join(command)}: {done.stderr or done.returncode}")
        lines = len(done.stdout.splitlines())
    return Took(statistics.median(times[1:]), lines)
