# SPDX-License-Identifier: MIT
"""The monthly report of a site with very many jobs in that month: seconds, memory and size, with and without its lists of all runs.

The jobs are SYNTHETIC (`scale/history.py`): all in one month, 500 users in 250 accounts. `carbon-report` is the real
program, started anew; its pages, tables and sums are those of the site and of each user and account.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from machine import describe
from scale.history import Year, fill
from scale.nodes import CLUSTER
from scale.servers import CHECKOUT
from table import render, verdict

sys.path.insert(0, str(CHECKOUT / "tests"))

from accounting.samples import new_site

VAR_TMP = Path(os.environ.get("TMPDIR", "/var/tmp"))  # noqa: S108  a folder of its own is made in it
BUDGET_S = 8.0
MONTH, DAYS = "2024-08", 31
END = int(datetime(2024, 9, 1, tzinfo=UTC).timestamp())
WAYS = {
    "pages": ["--format", "html", "--no-jobs"],
    "pages, CSV and JSON": ["--format", "html,csv,json", "--no-jobs"],
    "pages, CSV, Parquet and PDF of the site": ["--format", "html,csv,parquet,pdf", "--no-jobs"],
    "all of it, with the lists of all runs": ["--format", "html,csv,json,parquet,pdf"],
}
HEAD = ("jobs, what is written", "seconds", "MiB of memory", "files", "MB", "budget")


class Took(NamedTuple):
    """What one run of the program took."""

    seconds: float
    memory_mib: float


def main() -> int:
    """One database after the other; the exit status is 1 where a report does not have all jobs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=VAR_TMP, help="3 GB a million jobs")
    options = parser.parse_args()
    print(f"{describe()}\n")
    rows = [row for count in options.jobs for row in _measure(count, options.folder)]
    print(render(HEAD, rows))
    return 0


def _measure(count: int, parent: Path) -> list[list[str]]:
    """A heading, and a row for each way."""
    rows = [[f"{count:,}"]]
    with tempfile.TemporaryDirectory(prefix="carbon-bench-", dir=parent) as name:
        folder = Path(name)
        site = new_site(folder, site_cluster=CLUSTER, site_pue="1", site_timezone="UTC")
        fill(site, folder / "carbon-acct.db", Year(count, DAYS, DAYS, END))
        site.database.close()
        for way, words in WAYS.items():
            output = folder / way.replace(" ", "-")
            took = _run(["monthly", "--month", MONTH, "--output", str(output), *words], folder)
            files = [path for path in output.rglob("*") if path.is_file()]
            megabytes = sum(path.stat().st_size for path in files) / 1e6
            within = verdict(took.seconds, BUDGET_S) if "--no-jobs" in words and count >= 10**6 else ""
            figures = [f"{took.seconds:.1f}", f"{took.memory_mib:,.0f}", f"{len(files):,}", f"{megabytes:,.0f}"]
            rows.append([way, *figures, within])
        _check(folder / "pages,-CSV-and-JSON" / MONTH / "report.json", count)
    return rows


def _run(words: list[str], folder: Path) -> Took:
    program = [sys.executable, "-c", MEASURED, str(Path(sys.executable).parent / "carbon-report")]
    began = time.perf_counter()
    done = subprocess.run(
        [*program, "--config", str(folder / "carbon-acct.conf"), *words], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"carbon-report {' '.join(words)}: {done.stderr}")
    return Took(seconds, int(done.stdout.splitlines()[-1]) / 1024)


MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], check=False)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def _check(report: Path, count: int) -> None:
    """Every job is in it, and all that the nodes gave to jobs."""
    content = json.loads(report.read_text())
    total = content["total"]
    difference = [part["difference_uj"] for part in content["conservation"].values()]
    if total["jobs"] != count or any(difference) or not total["energy_uj"]:
        raise SystemExit(f"{total['jobs']} of {count} jobs, difference {difference} uJ")


if __name__ == "__main__":
    raise SystemExit(main())
