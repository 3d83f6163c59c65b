# SPDX-License-Identifier: MIT
"""What the simulated nodes are made of: every figure that the truth is computed from, in one place.

Power is in milliwatts, so that milliwatts x nanoseconds are picojoules and energies stay integers.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PACKAGE_RANGE_UJ = 262_143_328_850
"""2^32 units of 61.04 microjoules: the range of Intel's package counters."""
DRAM_RANGE_UJ = 65_712_999_613
"""2^32 units of 15.3 microjoules: the range of Intel's server DRAM counters (Haswell to Ice Lake)."""
SOCKETS = 2
PJ_PER_UJ = 1_000_000


@dataclass(frozen=True)
class Gpu:
    """One device: `minor` is the N of /dev/nvidiaN; powers in milliwatts, the counter's start in millijoules."""

    uuid: str
    minor: int
    name: str = "Simulated H100"
    idle_mw: int = 60_000
    busy_mw: int = 400_000
    start_mj: int = 1_000_000


@dataclass(frozen=True)
class Node:
    """One node: powers per socket, in milliwatts; where its counters start, in microjoules."""

    name: str
    cpus: int = 8
    """CPUs as Linux counts them."""
    threads: int = 1
    """Hardware threads of each core. Slurm is told of cores."""
    memory_mib: int = 4096
    idle_mw: int = 40_000
    busy_mw: int = 25_000
    """Milliwatts for each busy CPU: millijoules per CPU second."""
    dram_idle_mw: int = 4_000
    dram_mw_per_gib: int = 3_000
    system_ppm: int = 2_000
    """CPU time of the operating system on each socket, in millionths of one CPU."""
    system_mib: int = 256
    package_start_uj: int = 100_000_000_000
    dram_start_uj: int = 20_000_000_000
    gpus: tuple[Gpu, ...] = ()


def default_nodes() -> list[Node]:
    """Four nodes; n2's counters wrap within seconds, n3 and n4 have GPUs, n4's minors are not its positions."""
    cpus = max(8, (os.cpu_count() or 1) + 1 & ~1)
    return [
        Node("n1", cpus),
        Node("n2", cpus, package_start_uj=PACKAGE_RANGE_UJ - 900_000_000, dram_start_uj=DRAM_RANGE_UJ - 150_000_000),
        Node("n3", cpus, idle_mw=50_000, busy_mw=20_000, gpus=gpus("3", (0, 1, 2, 3))),
        Node("n4", cpus, package_start_uj=PACKAGE_RANGE_UJ - 2_500_000_000, gpus=gpus("4", (3, 2, 0, 1))),
    ]


def gpus(node: str, minors: tuple[int, ...]) -> tuple[Gpu, ...]:
    """Devices of one node in NVML's order, with the given minor numbers."""
    return tuple(Gpu(f"GPU-5100{node}000-0000-4000-8000-{minor:012d}", minor) for minor in minors)


def save(path: Path, nodes: list[Node]) -> None:
    """Write the nodes as JSON."""
    path.write_text(json.dumps([asdict(node) for node in nodes], indent=1))


def load(path: Path) -> list[Node]:
    """Read what `save` wrote."""
    return [_node(fields) for fields in json.loads(path.read_text())]


def _node(fields: dict[str, Any]) -> Node:
    return Node(**{**fields, "gpus": tuple(Gpu(**gpu) for gpu in fields["gpus"])})
