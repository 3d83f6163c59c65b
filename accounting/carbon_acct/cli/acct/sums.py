# SPDX-License-Identifier: MIT
"""Shows sums of jobs: --by, --top, --compare, --waste, --idle and --advice, each one question to the aggregator."""

from __future__ import annotations

import json
import time
from urllib.parse import urlencode

from carbon_collector import settings
from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from ...client import months, output, request, units, usage
from ...client.safe_text import visible
from .. import warn
from .jobs import parameters
from .options import PROGRAM

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import Any

    from ...client.usage import Table

NOT_IN_SUMS = {
    "-j": "jobs",
    "-N": "nodelist",
    "--name": "name",
    "-g": "gid",
    "-i": "nnodes",
    "-I": "ncpus",
    "-k": "timelimit_min",
    "-o": "format",
    "-b": "brief",
    "-l": "long",
    "-D": "duplicates",
}
"""The options that choose or show single jobs, which sums do not know."""


def run(options: argparse.Namespace) -> int:
    """Show the sums that are asked for and return the exit status."""
    asked = _question(options, int(time.time()))
    chosen = units.chosen_units(options.units) if options.units else ("", "")
    config = settings.load()
    shared = parameters(options, config.text("site", "cluster"))
    query = urlencode({k: v for k, v in {**shared, **asked}.items() if v}, errors="surrogateescape")
    url, answer = request.ask(config, "GET", f"/v1/usage?{query}")
    try:
        if options.json:
            print(json.dumps({"meta": {"program": PROGRAM, "aggregator": url}, **answer}, indent=2))
        else:
            _print(options, answer, chosen)
        for note in answer.get("notes") or ():
            warn(PROGRAM, f"warning: {note}")
        if answer["total"]["figures"].get("simulated"):
            warn(PROGRAM, "warning: simulated counters had a part in these figures")
    except (KeyError, TypeError) as err:
        raise request.foreign(url) from err
    return 0


def _question(options: argparse.Namespace, now: int) -> dict[str, str]:
    """Return the parameters that only sums have. Raises UsageError."""
    for flag, name in NOT_IN_SUMS.items():
        if getattr(options, name):
            raise UsageError(
                f"{flag} is for single jobs: sums do not know it; leave it out, or leave out --by and the like"
            )
    by = usage.dimensions(options.by)
    return {
        "by": ",".join(by),
        "month": months.month(options.month) if options.month else "",
        "start": usage.day_or_time(options.starttime, now, False) if options.starttime else "",
        "end": usage.day_or_time(options.endtime, now, True) if options.endtime else "",
        "top": str(options.top or ""),
        "compare": options.compare,
        "waste": "1" if options.waste else "",
        "advice": "1" if options.advice else "",
        "site": "1" if options.idle else "",
    }


def _print(options: argparse.Namespace, answer: dict[str, Any], chosen: tuple[str, str]) -> None:
    """Print the parts that were asked for: sums or waste, then the site, then advice."""
    scripts = bool(options.parsable or options.csv)
    heads = not scripts and not options.noheader
    if heads:
        _say(usage.heading(answer["window"], answer.get("previous_window")))
    only_more = (options.advice or options.idle) and not (options.by or options.waste or options.compare)
    if scripts and not only_more:
        _show(options, usage.for_scripts(answer), False)
    elif options.waste and not options.by and not options.compare:
        _show(options, usage.waste_by_rule(answer, chosen), True)
    elif not only_more:
        _show(options, usage.for_people(answer, chosen), True)
    if options.idle:
        table, facts = usage.beside(answer["site"], chosen)
        _show(options, table, True)
        if heads and facts:
            print(facts)
    for advice in answer.get("advice") or ():
        _say(visible(f"{advice['text']} [{advice['rule']}]"))


def _say(text: str) -> None:
    """Print a sentence, broken at blanks where a terminal is narrower."""
    columns = output.terminal_width()
    if columns and len(text) > columns:
        import textwrap

        text = textwrap.fill(text, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    print(text)


def _show(options: argparse.Namespace, table: Table, with_total: bool) -> None:
    """Print a table in the form that is asked for."""
    lines: Iterator[str]
    rows = [*table.rows, table.total] if with_total and (options.parsable or options.csv) else table.rows
    head = [] if options.noheader else [table.head]
    if options.csv:
        lines = output.csv_lines([*head, *rows])
    elif options.parsable:
        lines = output.delimited([*head, *rows], options.delimiter, options.parsable == "ending")
    else:
        lines = output.aligned(
            head, table.rows, table.total if with_total else None, table.right, output.terminal_width()
        )
    for line in lines:
        print(visible(line))
