# SPDX-License-Identifier: MIT
"""What prolog and epilog add to a job: the time of the real scripts beside that of an empty one, as slurmd runs them.

Collector running on an idle node and with 64 jobs, and not installed. Runs take turns, so that a machine that is busy for
a moment is so for all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import machine
from node import site
from table import percentile, render, verdict

BUDGET_MS = 5.0
JOBS = (0, 64)
FIRST_ID = 10_000
EMPTY = "#!/bin/sh\nexit 0\n"


class Script(NamedTuple):
    """One kind of run: what it is called, the script, its settings, and the collector that it wakes."""

    name: str
    collector: str
    path: Path
    config: Path
    host: site.Host | None


def environment(config: Path, job_id: int) -> dict[str, str]:
    """What slurmd gives a prolog (prolog and epilog guide), as far as the scripts read it."""
    return {
        "CARBON_ACCT_CONF": str(config),
        "SLURMD_NODENAME": site.NODE,
        "SLURM_CLUSTER_NAME": "bench",
        "SLURM_JOB_ID": str(job_id),
        "SLURM_JOB_UID": str(site.UID),
        "SLURM_JOB_USER": "alice",
        "SLURM_JOB_ACCOUNT": "physics",
        "SLURM_JOB_PARTITION": "batch",
        "SLURM_JOB_NODELIST": site.NODE,
        "SLURM_JOB_CPUS_PER_NODE": "1",
        "SLURM_JOB_START_TIME": "1790000000",
        "SLURM_JOB_RESTART_COUNT": "0",
    }


def run_once(script: Script, job_id: int) -> float:
    """Milliseconds from the start of the script to its end, its output read as slurmd does."""
    env = environment(script.config, job_id)
    start = time.perf_counter()
    done = subprocess.run([script.path], env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    took_ms = (time.perf_counter() - start) * 1000
    if done.returncode or done.stdout or done.stderr:
        raise RuntimeError(f"{script.path} did not end well: {done.returncode}, {done.stderr!r}")
    return took_ms


def measure(runs: int, program: Path) -> dict[str, tuple[Script, list[float]]]:
    """Times of every script by a name of its own; the scripts take turns."""
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(site.folder())
        receiver = stack.enter_context(site.aggregator(stack.enter_context(site.munged(root / "munge"))))
        hosts = [site.Host(root / f"n{jobs}", receiver, "v2", jobs, 0, None) for jobs in JOBS]
        stack.enter_context(site.counting(hosts))
        for host in hosts:
            stack.callback(host.stop)
            host.start(program)
            host.begin_jobs()
        scripts = _scripts(root, hosts)
        times: dict[str, tuple[Script, list[float]]] = {f"{s.name} {s.collector}": (s, []) for s in scripts}
        for turn in range(runs):
            for script, taken in times.values():
                taken.append(run_once(script, FIRST_ID + turn))
            _until_taken_in(hosts)
        return times


def _scripts(root: Path, hosts: list[site.Host]) -> list[Script]:
    empty = root / "empty.sh"
    empty.write_text(EMPTY)
    empty.chmod(0o755)
    absent = root / "absent.conf"
    absent.write_text(f"[collector]\nrun_dir = {root}/absent\n")
    scripts = [Script("empty script", "-", empty, absent, None)]
    for kind in ("prolog", "epilog"):
        path = site.CHECKOUT / kind / "carbon-acct.sh"
        scripts += [Script(kind, f"running, {host.jobs} jobs", path, host.config, host) for host in hosts]
        if not _installed():
            scripts.append(Script(kind, "not installed", path, absent, None))
    return scripts


def _installed() -> bool:
    """Where a collector is installed, a prolog that finds none running would start that one."""
    places = ("/usr/sbin", "/usr/local/sbin", "/opt/carbon-acct/bin")
    return any(os.access(f"{place}/carbon-collector", os.X_OK) for place in places)


def _until_taken_in(hosts: list[site.Host]) -> None:
    """The next turn begins when the collector has dealt with this one's tickets."""
    for host in hosts:
        host.until_taken_in()


def table(times: dict[str, tuple[Script, list[float]]]) -> str:
    """The table; ratio and difference are those of the medians."""
    empty = percentile(next(iter(times.values()))[1], 50)
    head = [
        "",
        "collector",
        "runs",
        "p50 ms",
        "p99 ms",
        "max ms",
        "ratio",
        "more ms",
        f"at most {BUDGET_MS:.0f} ms more",
    ]
    rows = []
    for script, taken in times.values():
        median = percentile(taken, 50)
        figures = [
            f"{value:.2f}" for value in (median, percentile(taken, 99), max(taken), median / empty, median - empty)
        ]
        said = "" if script.collector == "-" else verdict(median - empty, BUDGET_MS)
        rows.append([script.name, script.collector, str(len(taken)), *figures, said])
    return render(head, rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=500, help="runs of each script")
    parser.add_argument("--program", type=Path, default=site.ZIPAPP, help="another build of the collector")
    args = parser.parse_args()
    print(machine.describe())
    print(f"/bin/sh is {Path('/bin/sh').resolve()}\n")
    print(table(measure(args.runs, args.program)))


if __name__ == "__main__":
    main()
