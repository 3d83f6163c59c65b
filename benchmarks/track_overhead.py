# SPDX-License-Identifier: MIT
"""What tracking costs a program with epochs of 1 s: CPU time of its process, and the time that it waits at marks.

The program sleeps, so all CPU time of its process during the epochs is the tracker's. A program that keeps its CPU busy
becomes slower by at most that share. Carbontracker runs with simulated hardware, which spares it reading counters.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
from node.others import Missing, _from_pypi
from node.site import CHECKOUT
from table import render, verdict

sys.path.insert(0, str(CHECKOUT / "tests"))

from job.livenode import LiveNode

BUDGET = 0.5
"""Percent of an epoch of 1 s."""
VERSION = "2.4.7"
PROGRAM = """
import statistics, sys, time
{begin}
waits, epochs = [], {epochs}
for number in range(epochs + 2):
    if number == 2:
        began, used = time.perf_counter(), time.process_time()
    before = time.perf_counter()
    {start}
    waits.append(time.perf_counter() - before)
    time.sleep(1)
    before = time.perf_counter()
    {end}
    waits[-1] += time.perf_counter() - before
used, took = time.process_time() - used, time.perf_counter() - began
print(100 * used / took, 1e6 * statistics.median(waits[2:]), 1e6 * max(waits[2:]))
"""
NOTHING = {"begin": "", "start": "pass", "end": "pass"}
OURS = {"begin": "import carbon_job; t = carbon_job.track({epochs} + 2, quiet=True, history=False).start()",
        "start": "t.epoch()", "end": "pass"}  # fmt: skip
THEIRS = {
    "begin": "from carbontracker.tracker import CarbonTracker; t = CarbonTracker(epochs={epochs} + 2, verbose=0, "
    "sim_cpu='x', sim_cpu_tdp=200, sim_cpu_util=0.5, sim_gpu='y', sim_gpu_watts=300, sim_gpu_util=0.5)",
    "start": "t.epoch_start()",
    "end": "t.epoch_end()",
}


def run(python: list[str], parts: dict[str, str], epochs: int, environment: dict[str, str]) -> tuple[float, ...]:
    """Percent of CPU time, median and longest wait of a mark in microseconds."""
    filled = {name: text.format(epochs=epochs) for name, text in parts.items()}
    command = [*python, PROGRAM.format(epochs=epochs, **filled)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=epochs * 3 + 60
    )
    if done.returncode:
        raise Missing(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed without a word")
    return tuple(float(word) for word in done.stdout.split()[-3:])


def main() -> int:
    """Print the table; returns 1 where ours is over the budget."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=20)
    epochs = options.parse_args().epochs
    print(machine.describe())
    rows, ours = [], 0.0
    with (
        tempfile.TemporaryDirectory() as name,
        LiveNode(Path(name), {"cpu": lambda _t: 100.0, "gpu": lambda _t: 300.0}) as node,
    ):
        environment = {**os.environ, **node.environment(), "PYTHONPATH": str(CHECKOUT / "job"), "XDG_STATE_HOME": name}
        for tool, python, parts in (
            ("nothing", [sys.executable, "-c"], NOTHING),
            ("carbon_job", [sys.executable, "-c"], OURS),
            (f"Carbontracker {VERSION}", None, THEIRS),
        ):
            try:
                start = python or _from_pypi("carbontracker", VERSION, "")(0)[:2]
                cpu, median, longest = run(start, parts, epochs, environment)
            except Missing as err:
                rows.append([tool, "-", "-", "-", str(err)])
                continue
            ours = cpu if tool == "carbon_job" else ours
            said = verdict(cpu, BUDGET) if tool == "carbon_job" else ""
            rows.append([tool, f"{cpu:.3f}", f"{median:.0f}", f"{longest:.0f}", said])
    print(
        render(
            ["epochs of 1 s", "CPU time, % of the epoch", "median wait, us", "longest wait, us", f"at most {BUDGET} %"],
            rows,
        )
    )
    return int(ours > BUDGET)


if __name__ == "__main__":
    raise SystemExit(main())
