# SPDX-License-Identifier: MIT
"""Shows jobs, a line each, as sacct does."""

from __future__ import annotations

import os
import time

from carbon_collector import __version__, settings
from carbon_collector.lean.typing import TYPE_CHECKING

from ...client import fields, request, selection, timespec, units
from .. import warn
from .options import EVERYONE, PROGRAM

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from carbon_collector.settings import Settings

    from ...client.fields import Column, Screen
    from ...client.request import Page
    from ...client.selection import Window


def run(options: argparse.Namespace) -> int:
    """Show the jobs that are asked for and return the exit status."""
    columns = fields.columns(_format(options))
    now = int(time.time())
    chosen = units.chosen_units(options.units) if options.units else ("", "")
    config = settings.load()
    span = window(options, config, now)
    asked = parameters(options, config.text("site", "cluster")) | _only_of_jobs(options, span)
    if options.verbose:
        start, end = (timespec.show_time(at, "", now) for at in span)
        warn(PROGRAM, f"jobs eligible from {start} to {end}")
    page = request.ask_jobs(config, {key: value for key, value in asked.items() if value})
    for warning in page.warnings:
        warn(PROGRAM, f"warning: {warning}")
    if options.use_local_uid:
        page = page._replace(jobs=selection.with_local_uids(page.jobs))
    if options.json:
        return _print_json(page, span, options.truncate)
    has_quality = any(column.field.name.startswith("Quality") for column in columns)
    cut = (span.start, span.end) if options.truncate else None
    style = os.environ.get("SLURM_TIME_FORMAT", "")
    screen = fields.Screen(*chosen, style, cut, now, mark_simulated=not has_quality, convert=not options.noconvert)
    for line in _lines(options, page, columns, screen):
        print(line)
    if not has_quality and any(job.get("simulated") for job in page.jobs):
        warn(PROGRAM, "warning: simulated counters had a part in these figures; the field Quality says in which")
    return 0


def _format(options: argparse.Namespace) -> str:
    """Return the fields to show. -b and -l add theirs after those of -o, as in sacct."""
    asked = [*options.format, *[fields.BRIEF_FORMAT] * options.brief, *[fields.LONG_FORMAT] * options.long]
    return ",".join(asked) or os.environ.get("CARBON_ACCT_FORMAT") or fields.DEFAULT_FORMAT


def window(options: argparse.Namespace, config: Settings, now: int) -> Window:
    """Return the window that -S and -E, or --month, give."""
    if options.month:
        from ...client import months

        return selection.Window(*months.window(options.month, config.text("site", "timezone"), now))
    return selection.window(options.starttime, options.endtime, bool(options.jobs), bool(options.state), now)


def parameters(options: argparse.Namespace, cluster: str) -> dict[str, str]:
    """Return the parameters that jobs and sums have in common; an empty one is none.

    Asking for jobs or nodes by name asks for those of all users, as in sacct.
    """
    everyone = options.user[-1:] == [EVERYONE]
    users = [user for user in options.user if user != EVERYONE]
    all_users = everyone or (not users and (options.jobs or options.nodelist))
    clusters = "all" if options.allclusters else ",".join(options.clusters) or cluster
    return {
        "users": "" if everyone else ",".join(users),
        "all_users": "1" if all_users else "",
        "accounts": ",".join(options.accounts),
        "partitions": ",".join(options.partition),
        "qos": ",".join(options.qos),
        "states": selection.states(",".join(options.state)),
        "clusters": "" if clusters.lower() in ("all", "-1") else clusters,
    }


def _only_of_jobs(options: argparse.Namespace, span: Window) -> dict[str, str]:
    return {
        "jobs": selection.job_ids(",".join(options.jobs)),
        "nodes": ",".join(options.nodelist),
        "names": ",".join(options.name),
        "gids": selection.groups(",".join(options.gid)),
        "nnodes": selection.size("-i", options.nnodes),
        "ncpus": selection.size("-I", options.ncpus),
        "timelimit": selection.time_limit(options.timelimit_min, options.timelimit_max),
        "start": str(span.start),
        "end": str(span.end),
        "truncate": "1" if options.truncate else "",
        "duplicates": "1" if options.duplicates else "",
    }


def _lines(options: argparse.Namespace, page: Page, columns: list[Column], screen: Screen) -> Iterator[str]:
    from ...client import output

    header = not options.noheader
    if options.csv:
        return output.for_spreadsheets(page.jobs, columns, screen, header)
    if options.parsable:
        ending = options.parsable == "ending"
        return output.for_scripts(page.jobs, columns, screen, header, options.delimiter, ending)
    return output.for_people(page.jobs, columns, screen, header, _terminal(options))


def _terminal(options: argparse.Namespace) -> int:
    """Return the width of the terminal that the default table goes to; 0 where none is to be kept to."""
    if options.format or options.brief or options.long or os.environ.get("CARBON_ACCT_FORMAT"):
        return 0
    from ...client import output

    return output.terminal_width()


def _print_json(page: Page, span: Window, truncate: bool) -> int:
    import json

    meta = {
        "program": PROGRAM,
        "version": __version__,
        "aggregator": page.url,
        "start": span.start,
        "end": span.end,
        "truncate": truncate,
        "warnings": page.warnings,
    }
    print(json.dumps({"meta": meta, "jobs": page.jobs}, indent=2))
    return 0
