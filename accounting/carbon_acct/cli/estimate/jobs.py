# SPDX-License-Identifier: MIT
"""`carbon-estimate -j`: shows what jobs consumed and what running ones will consume. `--hints`: what the user's own
jobs could save.
"""

from __future__ import annotations

import subprocess
import time

from carbon_collector.errors import CarbonError
from carbon_collector.lean.typing import TYPE_CHECKING

from .common import PROGRAM, configuration, finish, place_and_pue
from .tables import accelerators

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Job = Mapping[str, Any]

SQUEUE_S = 10


def run(given: Mapping[str, str]) -> int:
    """Print the jobs of -j. Raises CarbonError where none may be seen.

    A job that runs on this node is read from its live file, also where no aggregator answers.
    """
    from ...client import request, selection
    from ...client.estimate import coming, live, measured

    config = configuration()
    ids = selection.job_ids(given["jobs"])
    run_dir = config.text("collector", "run_dir")
    parameters = {"jobs": ids, "all_users": "1", "start": "0", "end": str(int(time.time()) + 1)}
    try:
        found = [live.updated(job, run_dir) for job in request.ask_jobs(config, parameters).jobs]
    except CarbonError:
        found = live.alone(ids, run_dir)
        if not found:
            raise
    found = found or live.alone(ids, run_dir)
    if not found:
        raise CarbonError(f"-j {given['jobs']}: no such job, or none that you may see")
    place, pue = place_and_pue(given, config)
    elsewhere = bool({"zone", "region", "intensity", "pue"} & given.keys())
    figures = coming.figures(measured.sums(found), [(job, _left_s(job)) for job in found], place, pue, elsewhere)
    return finish(given, coming.lines(found, figures), figures, pue, place)


def hints(given: Mapping[str, str]) -> int:
    """Print what the own jobs of the last 30 days could have saved."""
    import json

    from carbon_collector.meters import tdp

    from ...client.estimate import hints as found
    from ...client.estimate import outlook

    config, now = configuration(), int(time.time())
    jobs = outlook.own_jobs(config, now, start=str(now - found.DAYS * outlook.DAY_S), duplicates="1")
    table = accelerators(config)

    def watts(kind: str) -> float | None:
        model = tdp.accelerator(kind, table)
        return model.watts if model else None

    said = found.hints(jobs, watts, outlook.intensity(config, "", now), _usage(now))
    if "json" in given:
        print(
            json.dumps(
                {"meta": {"program": PROGRAM, "jobs": len(jobs)}, "hints": [one._asdict() for one in said]}, indent=2
            )
        )
        return 0
    for one in said:
        print(f"{one.text}\n    {one.command}")
    if not said:
        print(f"{len(jobs)} jobs of the last {found.DAYS} days: nothing to say")
    return 0


def _left_s(job: Job) -> int | None:
    """Return the seconds to the time limit of a running job, as squeue states them. None: it has ended, has no limit,
    or squeue does not know.
    """
    from ...client.estimate.asked import limit_s

    if job.get("state") != "RUNNING":
        return None
    words = ["squeue", "--noheader", "--format=%L", f"--jobs={job['job_id_raw']}"]
    text = _output(words).strip()
    try:
        return limit_s(text) if text else None
    except CarbonError:
        return None


def _usage(now: int) -> list[Sequence[str]]:
    """Return the CPU time and memory that the user's own jobs used and asked for, as sacct states them; nothing without
    sacct.
    """
    since = time.strftime("%Y-%m-%d", time.localtime(now - 30 * 86400))
    words = ["sacct", "-nP", "-S", since, "-s", "CD", "-o", "JobID,ElapsedRaw,NCPUS,TotalCPU,ReqMem,MaxRSS,NNodes"]
    return [line.split("|") for line in _output(words).splitlines()]


def _output(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SQUEUE_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
