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

STEP_S = 0.02
LOG_EVERY = 10
"""Steps between two complete records of a node; the end of a job is logged at once."""


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="simulator", description="Simulated hardware for a set of nodes.")
    parser.add_argument("hardware", type=Path, help="JSON file with the nodes (simulator/hardware.py)")
    parser.add_argument("out", type=Path, help="folder for the files of the nodes")
    parser.add_argument("truth", type=Path, help="folder for the logs of the truth")
    parser.add_argument("--cgroupfs", type=Path, default=Path("/sys/fs/cgroup"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(PermissionError):
        os.nice(-15)  # jobs fill every CPU; a late step is a late counter
    nodes = [SimulatedNode(args.out / node.name, args.cgroupfs, node) for node in load(args.hardware)]
    args.truth.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context((args.truth / f"{n.node.name}.jsonl").open("a", buffering=1)) for n in nodes]
        animate(nodes, logs, args.out / "ready")
    return 0


def animate(nodes: list[SimulatedNode], logs: list[IO[str]], ready: Path) -> None:
    """Step all nodes for ever."""
    count = 0
    due = time.monotonic()
    while True:
        for node, log in zip(nodes, logs, strict=True):
            gone = node.step()
            for record in [*gone, *(node.records() if count % LOG_EVERY == 0 else [])]:
                log.write(_line(record))
        if count == 0:
            ready.touch()
        count += 1
        due = max(due + STEP_S, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _line(record: dict[str, Any]) -> str:
    stamp = {"wall": time.time(), "monotonic_ns": time.monotonic_ns()}
    return json.dumps({**stamp, **record}, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    sys.exit(main())
