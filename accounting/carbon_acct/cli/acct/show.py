# SPDX-License-Identifier: MIT
"""`carbon-acct show JOBID`: one job on a page, while it runs or after it has ended."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from fractions import Fraction
from urllib.parse import urlencode

from carbon_collector import __version__, settings
from carbon_collector.errors import CarbonError, RequestError, UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from ...client import graph, one_job, request, selection, timeline, units
from ...client.estimate import equivalents
from .. import Parser, warn
from .options import PROGRAM

if TYPE_CHECKING:
    from typing import Any

    from carbon_collector.settings import Settings

WATCH_S = 30
LEAST_WATCH_S = 5
CLEAR = "\x1b[H\x1b[2J"
NARROWEST = 40
LIKE = "car_eu"
"""The row of equivalents.csv that a job is compared to."""


def parser() -> Parser:
    """Return the parser of `carbon-acct show`."""
    p = Parser(prog=f"{PROGRAM} show", description="Show one job: energy, power over time, carbon, quality, advice.")
    p.add_argument("job", metavar="JOBID", help="the job: 12, 12_3 or 12+1")
    p.add_argument("-M", "--clusters", "--cluster", default="", metavar="NAME", help="the cluster that it ran on")
    p.add_argument("--json", action="store_true", help="print the job, its points of power and the projection as JSON")
    p.add_argument(
        "--watch",
        nargs="?",
        type=int,
        const=WATCH_S,
        default=0,
        metavar="SECONDS",
        help=f"show it again until it has ended, every {WATCH_S} seconds",
    )
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    p.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    return p


def run(words: list[str]) -> int:
    """Show the job and return the exit status."""
    options = parser().parse_args(words)
    if options.watch and options.watch < LEAST_WATCH_S:
        raise UsageError(f"--watch {options.watch}: {LEAST_WATCH_S} seconds at least, or the aggregator has no rest")
    config = settings.load()
    while True:
        job, points = _ask(config, options)
        if options.json:
            _print_json(job, points)
        else:
            _print(job, points, clear=bool(options.watch) and sys.stdout.isatty())
        if not options.watch or job.get("end") is not None:
            return 0
        sys.stdout.flush()
        time.sleep(options.watch)


def _ask(config: Settings, options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the job and its points of power. Raises CarbonError where there is no such job, UsageError where there are
    several.
    """
    ids = selection.job_ids(options.job).split(",")
    if len(ids) != 1:
        raise UsageError(f"show {options.job}: one job at a time")
    cluster = options.clusters or config.text("site", "cluster")
    shared = {"jobs": ids[0]} | ({"clusters": cluster} if cluster else {})
    page = request.ask_jobs(config, {**shared, "all_users": "1"})
    for warning in page.warnings:
        warn(PROGRAM, f"warning: {warning}")
    if not page.jobs:
        raise CarbonError(f"no job {options.job} that you may see")
    if len(page.jobs) > 1:
        names = ", ".join(str(job["job_id"]) for job in page.jobs[:4]) + ", ..." * (len(page.jobs) > 4)
        raise UsageError(f"{options.job} is {len(page.jobs)} jobs; ask for one: {names}")
    return page.jobs[0], _points(config, shared, page.url)


def _points(config: Settings, shared: dict[str, str], url: str) -> list[dict[str, Any]]:
    """Return the points of power; none where the aggregator is too old to keep them."""
    try:
        _, answer = request.ask(config, "GET", f"/v1/power/series?{urlencode(shared | {'minutes': '1'})}", url=url)
        return [point for series in answer["series"] for point in series["points"]]
    except RequestError as err:
        if err.status == 404:
            return []
        raise
    except KeyError as err:
        raise request.foreign(url) from err


def _print(job: dict[str, Any], points: list[dict[str, Any]], clear: bool) -> None:
    try:
        width = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        width = 80
    pen = graph.pen_for(sys.stdout.encoding)
    terminal = one_job.Terminal(max(width, NARROWEST), pen, os.environ.get("SLURM_TIME_FORMAT", ""), int(time.time()))
    lines = one_job.page(job, points, one_job.like(job, terminal, _comparisons(job)), terminal)
    print(CLEAR * clear + "\n".join(lines))


def _comparisons(job: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the emissions are like, by a row of carbon-estimate's table."""
    ug = job.get("carbon_ug")
    if not ug:
        return []
    shown = next(one for one in equivalents.equivalents() if one.name == LIKE)
    amount = float(shown.amount(Fraction(ug, units.UG_PER_G)))
    return [(equivalents.significant(amount, 2), shown.text)]


def _print_json(job: dict[str, Any], points: list[dict[str, Any]]) -> None:
    found = timeline.projection(job, points, int(time.time()))
    content = {
        "meta": {"program": PROGRAM, "version": __version__},
        "job": job,
        "power": points,
        "projection": None if found is None else found._asdict(),
        "advice": [{"rule": rule, "text": text} for rule, text in one_job.advice(job)],
    }
    print(json.dumps(content, indent=2))
