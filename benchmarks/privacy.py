# SPDX-License-Identifier: MIT
"""Who sees whose jobs under each PrivateData: carbon-acct beside sacct, on a real cluster that this brings up."""

from __future__ import annotations

import sys
from pathlib import Path

from table import render

CHECKOUT = Path(__file__).parents[1]
sys.path.insert(0, str(CHECKOUT / "tests"))  # the real cluster lives with the tests

from slurm.cluster import Cluster, ClusterError  # noqa: E402
from slurm.privacy import QUERIES, cells, run_jobs, table  # noqa: E402


def main() -> int:
    """Print the matrix; 1 where a cell differs from sacct's."""
    try:
        with Cluster(CHECKOUT / "build" / "bench" / "privacy", name="bench") as cluster:
            cluster.start_aggregator()
            version = cluster.run(["sacct", "--version"]).stdout.strip()
            found = list(cells(cluster, run_jobs(cluster)))
    except ClusterError as err:
        print(f"privacy: {err}", file=sys.stderr)
        return 1
    differing = sum(cell.sacct != cell.ours for cell in found)
    print(f"{version}; each row by {len(QUERIES)} kinds of query: {', '.join(QUERIES)}\n")
    print(render(*table(found)))
    print(f"\n{len(found)} cells, {differing} differ from sacct's")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
