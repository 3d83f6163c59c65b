# SPDX-License-Identifier: MIT
"""What watching costs a node: memory and CPU time of the real collector over a minute, beside other tools.

All cells run side by side: each is asleep nearly all of the time, and what is measured is CPU time, not time.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import machine
from node import others, site
from node.cost import Memory, Window
from table import render, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

JOBS = (0, 8, 64, 256)
GPUS = (0, 8)
MEMORY_JOBS = 64
MEMORY_BUDGET_MIB = {0: 12.0, 8: 16.0}
CPU_BUDGET_MS = {0: 5.0, 64: 60.0}
SETTLE_S = 6.0
"""After the collector's warm-up readings, and when the others have taken their first."""
STEP_S = 1.0


class Cell(NamedTuple):
    """One row: jobs and GPUs are `None` where a tool does not know of any; CPU time in milliseconds a minute."""

    name: str
    reads: str
    jobs: int | None
    gpus: int | None
    memory: Memory
    cpu_ms: float


def measure(args: argparse.Namespace) -> tuple[list[Cell], list[str]]:
    """Every cell, and why others are missing."""
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(site.folder())
        receiver = stack.enter_context(site.aggregator(stack.enter_context(site.munged(root / "munge"))))
        nvml = site.compile_nvml(root) if any(args.gpus) else None
        sizes = [(jobs, gpus) for gpus in args.gpus for jobs in args.jobs]
        hosts = [site.Host(root / f"n{n}-{g}", receiver, args.cgroup, n, g, nvml) for n, g in sizes]
        stack.enter_context(site.counting(hosts))
        for host in hosts:
            stack.callback(host.stop)
            host.start(args.program)
            host.begin_jobs()
        running, missing = ([], []) if args.alone else _others(root, stack)
        everyone: list[site.Host | others.Running] = [*hosts, *running]
        windows = _run(everyone, args.settle, args.seconds)
        cells = []
        for one, window in zip(everyone, windows, strict=True):
            cpu_s, memory = window.close()
            cells.append(_cell(one, memory, cpu_s * 1000 * 60 / args.seconds))
        missing += [f"{host.root.name} said: {line}" for host in hosts for line in host.said().splitlines()]
        if receiver.problems:
            missing.append(f"the aggregator was not content: {receiver.problems[0]}")
        return cells, missing


def _others(root: Path, stack: contextlib.ExitStack) -> tuple[list[others.Running], list[str]]:
    running, missing = [], []
    for i, tool in enumerate(others.TOOLS):
        try:
            one = others.Running(tool, root / f"other{i}")
        except others.Missing as err:
            missing.append(f"{tool.name}: {err}")
        else:
            stack.callback(one.stop)
            running.append(one)
    return running, missing


def _run(everyone: list[site.Host | others.Running], settle: float, seconds: float) -> list[Window]:
    """Let all of them settle, then for so long; the counters count on meanwhile."""
    animate(everyone, settle)
    windows = [Window(one.process) for one in everyone if one.process is not None]
    animate(everyone, seconds)
    return windows


def animate(everyone: Sequence[site.Host | others.Running], seconds: float) -> None:
    """Let the counters of all nodes count for so long."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(STEP_S, left))
        for one in everyone:
            one.animate(STEP_S)


def _cell(one: site.Host | others.Running, memory: Memory, cpu_ms: float) -> Cell:
    if isinstance(one, site.Host):
        return Cell("carbon-collector", "10 s" if one.jobs else "30 s", one.jobs, one.gpus, memory, cpu_ms)
    return Cell(one.tool.name, one.tool.reads, None, None, memory, cpu_ms)


def table(cells: list[Cell]) -> str:
    """The table; ratios are to our own with the first number of jobs and no GPU."""
    base = cells[0]
    head = [
        "",
        "reads",
        "jobs",
        "GPUs",
        "RSS MiB",
        "PSS MiB",
        "peak MiB",
        "CPU ms/min",
        "RSS ratio",
        "CPU ratio",
        "budgets",
    ]
    return render(head, [_row(cell, base) for cell in cells])


def _row(cell: Cell, base: Cell) -> list[str]:
    facts = ["-" if number is None else str(number) for number in (cell.jobs, cell.gpus)]
    sizes = [f"{cell.memory.rss:.1f}", f"{cell.memory.pss:.1f}", f"{cell.memory.peak:.1f}", f"{cell.cpu_ms:.1f}"]
    of_base = f"{cell.cpu_ms / base.cpu_ms:.2f}" if base.cpu_ms else "-"  # it may have slept all the time
    ratios = [f"{cell.memory.rss / base.memory.rss:.2f}", of_base]
    return [cell.name, cell.reads, *facts, *sizes, *ratios, _verdicts(cell)]


def _verdicts(cell: Cell) -> str:
    said = []
    if cell.jobs == MEMORY_JOBS and cell.gpus in MEMORY_BUDGET_MIB:
        budget = MEMORY_BUDGET_MIB[cell.gpus]
        said.append(f"RSS {budget:.0f}: {verdict(cell.memory.rss, budget)}")
    if cell.gpus == 0 and cell.jobs in CPU_BUDGET_MS:
        budget = CPU_BUDGET_MS[cell.jobs]
        said.append(f"CPU {budget:.0f}: {verdict(cell.cpu_ms, budget)}")
    return ", ".join(said)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the window; figures are per minute")
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="seconds before the window begins")
    parser.add_argument("--program", type=Path, default=site.ZIPAPP, help="another build of the collector")
    parser.add_argument("--jobs", type=int, nargs="+", default=list(JOBS))
    parser.add_argument("--gpus", type=int, nargs="+", default=list(GPUS))
    parser.add_argument("--cgroup", choices=("v1", "v2"), default="v2")
    parser.add_argument("--alone", action="store_true", help="without the other tools")
    args = parser.parse_args()
    print(machine.describe())
    print(f"2 sockets, 64 CPUs, cgroup {args.cgroup}, files in memory; {args.seconds:.0f} s\n")
    cells, missing = measure(args)
    print(table(cells))
    for line in missing:
        print(f"missing: {line}")


if __name__ == "__main__":
    main()
