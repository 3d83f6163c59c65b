# SPDX-License-Identifier: MIT
"""`python3 -m simulator HARDWARE.json OUT TRUTH`: animates the counters of all nodes until it is told to stop.

OUT/<node>/ gets the files of each node (best on a tmpfs), TRUTH/<node>.jsonl the log. `OUT/ready` appears
when everything is there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

from .hardware import load
from .node import SimulatedNode

TURN_S = 0.002
"""Time between two values of a package's counter. RAPL's own is 1 ms."""
STEP_EVERY = 10
"""Turns between two looks at jobs, memory and GPUs."""
LOG_EVERY = 100
"""Turns between two complete records of a node; the end of a job is logged at once."""


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="simulator", description="Simulated hardware for a set of nodes.")
    parser.add_argument("hardware", type=Path, help="JSON file with the nodes (simulator/hardware.py)")
    parser.add_argument("out", type=Path, help="folder for the files of the nodes")
    parser.add_argument("truth", type=Path, help="folder for the logs of the truth")
    parser.add_argument("--cgroupfs", type=Path, default=Path("/sys/fs/cgroup"))
    parser.add_argument("--turn", type=float, default=TURN_S, help="seconds between two turns (default: %(default)s)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _hurry()
    nodes = [SimulatedNode(args.out / node.name, args.cgroupfs, node) for node in load(args.hardware)]
    args.truth.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context((args.truth / f"{n.node.name}.jsonl").open("a", buffering=1)) for n in nodes]
        animate(nodes, logs, args.out / "ready", args.turn)
    return 0


def _hurry() -> None:
    """Go before the jobs, which fill every CPU: a late turn is a counter that stood still."""
    with contextlib.suppress(PermissionError):
        os.nice(-20)
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def animate(nodes: list[SimulatedNode], logs: list[IO[str]], ready: Path, turn_s: float) -> None:
    """Step all nodes for ever."""
    turn = 0
    due = time.monotonic()
    while True:
        for node, log in zip(nodes, logs, strict=True):
            if turn % STEP_EVERY:
                node.count()
                continue
            for record in [*node.step(), *(node.records() if turn % LOG_EVERY == 0 else [])]:
                log.write(_line(record))
        if turn == 0:
            ready.touch()
        turn += 1
        due = max(due + turn_s, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _line(record: dict[str, Any]) -> str:
    stamp = {"wall": time.time(), "monotonic_ns": time.monotonic_ns()}
    return json.dumps({**stamp, **record}, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    sys.exit(main())
