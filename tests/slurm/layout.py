# SPDX-License-Identifier: MIT
"""Names that all parts of the cluster share: its folder, nodes, users, accounts."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = Path(sys.prefix) if sys.prefix != sys.base_prefix else CHECKOUT / ".venv"
NODES = ("n1", "n2", "n3", "n4")
GPU_NODES = ("n3", "n4")
USERS = {"alice": 70001, "bob": 70002, "carol": 70003, "dave": 70004}
"""dave has no account: to Slurm he is nobody."""
AGGREGATOR_USER = "carbon-acct"
AGGREGATOR_UID = 70100
HEAD_ADDRESS = "127.0.1.1"
PREFIX = "/opt/carbon-acct"
"""Where the product is inside: bin/ for all, venv/ and src/ of this checkout."""
CLOCK = Path(PREFIX, "clock")
"""Where the library of a cluster's own wall clock is inside."""
PATH = f"{PREFIX}/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


def node_address(node: str) -> str:
    """Address of a node on the loopback of the cluster's own network namespace."""
    return f"127.0.1.{10 + int(node[1:])}"


@dataclass(frozen=True)
class Layout:
    """Paths in the cluster's folder, as seen on the host and inside alike."""

    folder: Path

    @property
    def etc(self) -> Path:
        """Files that appear in /etc inside."""
        return self.folder / "etc"

    @property
    def log(self) -> Path:
        """All logs; /var/log/slurm inside."""
        return self.folder / "log"

    @property
    def state(self) -> Path:
        """The aggregator's /var/lib/carbon-aggregator."""
        return self.folder / "state"

    @property
    def truth(self) -> Path:
        """The simulator's logs."""
        return self.folder / "truth"

    @property
    def witness(self) -> Path:
        """Where prologs and epilogs of the tests note their times."""
        return self.folder / "witness"

    @property
    def hardware(self) -> Path:
        """The simulated nodes as JSON."""
        return self.folder / "hardware.json"

    @property
    def real_counters(self) -> Path:
        """A file that exists where n1 may use the machine's own counters."""
        return self.folder / "real-counters"

    @property
    def clock(self) -> Path:
        """The wall clock of a cluster that has its own; nothing is there else."""
        return self.folder / "clock"

    @property
    def staging(self) -> Path:
        """An empty folder to build mounts in."""
        return self.folder / "staging"

    def node(self, name: str) -> Path:
        """A node's own files: run/, spool/, state/ of the collector, slurmd/, bin/."""
        return self.folder / "nodes" / name
