# SPDX-License-Identifier: MIT
"""carbon-acct: shows jobs with their energy and carbon to those who may see them, as sacct shows jobs.

Like sacct it must start fast. It uses the standard library only, and imports a module only on the path that needs it.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys

from carbon_collector import __version__
from carbon_collector.lean.typing import TYPE_CHECKING

from . import Parser, funnel, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ..client.fields import Column, Screen
    from ..client.request import Page
    from ..client.selection import Window

PROGRAM = "carbon-acct"
EVERYONE = "-1"  # sacct knows -u -1 as well; of -a and -u the last one holds
EPILOG = """\
Times: HH:MM[:SS] [AM|PM], MMDD[YY], MM/DD[/YY], MM.DD[.YY], YYYY-MM-DD[THH:MM[:SS]], a date and a time with T, -
or a blank between, now[{+|-}count[seconds|minutes|hours|days|weeks]], today, tomorrow, midnight, elevenses, noon,
fika, teatime. See carbon-acct(1).
"""


class _Unmeasured(argparse.RawDescriptionHelpFormatter):
    """A help formatter that does not ask for the terminal's width. argparse would load all of shutil for it, whatever
    is parsed.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)


class _Parser(Parser):
    """A parser that asks for the terminal's width only when it prints the help."""

    def format_help(self) -> str:
        """Return the help, as wide as the terminal."""
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        return super().format_help()


def parser() -> Parser:
    """Return the command line's parser, with sacct's names and letters."""
    p = _Parser(
        prog=PROGRAM,
        description="Show jobs with their energy and carbon.",
        epilog=EPILOG,
        formatter_class=_Unmeasured,
    )
    which = p.add_argument_group("which jobs")
    comma: dict[str, Any] = {"action": "append", "default": [], "metavar": "LIST"}
    which.add_argument(
        "-a",
        "--allusers",
        dest="user",
        action="append_const",
        default=[],
        const=EVERYONE,
        help="jobs of all users, as far as you may see them",
    )
    which.add_argument("-u", "--user", "--uid", **comma, help="jobs of these users; without it your own, for root all")
    which.add_argument("-A", "--accounts", **comma, help="jobs under these accounts")
    which.add_argument("-r", "--partition", **comma, help="jobs in these partitions")
    which.add_argument("-q", "--qos", **comma, help="jobs with these qualities of service")
    which.add_argument("-s", "--state", **comma, help="jobs in these states in the window, e.g. CA or CANCELLED")
    which.add_argument("-j", "--jobs", **comma, help="these jobs: 12, 12_3, 12_[1-4], 12+1")
    which.add_argument("-N", "--nodelist", **comma, help="jobs that ran on any of these nodes, e.g. n[1-4]")
    which.add_argument("-M", "--clusters", "--cluster", **comma, help="jobs of these clusters, or `all`")
    which.add_argument("--name", **comma, help="jobs with these names, exactly")
    which.add_argument("-D", "--duplicates", action="store_true", help="every run of a JobID, not only the newest")
    which.add_argument(
        "-X", "--allocations", action="store_true", help="accepted as in sacct; energy is always per allocation"
    )
    when = p.add_argument_group("when: jobs that overlap a window; midnight to now if not said")
    when.add_argument("-S", "--starttime", default="", metavar="TIME", help="start; with -j the epoch, with -s now")
    when.add_argument("-E", "--endtime", default="", metavar="TIME", help="end; with -s the start, else now")
    when.add_argument("-T", "--truncate", action="store_true", help="only what lies inside the window counts")
    how = p.add_argument_group("how")
    how.add_argument(
        "-o",
        "--format",
        "--fields",
        action="append",
        default=[],
        metavar="LIST",
        help="fields, each with %%WIDTH if need be (negative: left-aligned), or ALL",
    )
    how.add_argument("-n", "--noheader", action="store_true", help="print no header")
    how.add_argument(
        "-p",
        "--parsable",
        dest="parsable",
        action="store_const",
        const="ending",
        default="",
        help="print `|` after every value",
    )
    how.add_argument(
        "-P", "--parsable2", dest="parsable", action="store_const", const="between", help="print `|` between the values"
    )
    how.add_argument("--delimiter", default="|", metavar="TEXT", help="the delimiter, instead of `|`")
    how.add_argument(
        "--units", default="", metavar="UNIT", help="units of Energy and Carbon: K, M, kWh, MJ, `Wh,g` ..."
    )
    how.add_argument("--json", action="store_true", help="print everything as JSON, in the units of the HTTP API")
    how.add_argument("--csv", action="store_true", help="print comma-separated values for a spreadsheet")
    other = p.add_argument_group("other")
    other.add_argument("-e", "--helpformat", action="store_true", help="list the fields")
    other.add_argument("--debug", action="store_true", help="show where an error comes from")
    other.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run carbon-acct and return its exit status: 0 done, 1 failed, 2 usage."""
    if argv is None:
        gc.disable()  # a program that ends soon has nothing to gain from looking through its jobs for cycles
    words = sys.argv[1:] if argv is None else list(argv)
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without UTF-8 gets escapes, not a traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    return funnel(PROGRAM, lambda: _run(words), debug="--debug" in words)


def _run(words: list[str]) -> int:
    options = _options(words)
    from ..client import fields

    if options.helpformat:
        print(fields.names_in_rows())
        return 0
    columns = fields.columns(",".join(options.format) or os.environ.get("CARBON_ACCT_FORMAT") or fields.DEFAULT_FORMAT)
    return _show(options, columns)


def _options(words: list[str]) -> argparse.Namespace:
    p = parser()
    options, unknown = p.parse_known_args(words)
    if unknown:
        import difflib

        known = [name for action in p._actions for name in action.option_strings]
        close = difflib.get_close_matches(unknown[0].partition("=")[0], known, 1, 0.5)
        p.error(f"unknown argument {unknown[0]!r}{f'; did you mean {close[0]}?' if close else ''}")
    if options.json and options.csv:
        p.error("--json and --csv exclude each other")
    return options


def _show(options: argparse.Namespace, columns: list[Column]) -> int:
    import time

    from carbon_collector import settings

    from ..client import fields, request, selection, units

    now = int(time.time())
    chosen = units.chosen_units(options.units) if options.units else ("", "")
    span = selection.window(options.starttime, options.endtime, bool(options.jobs), bool(options.state), now)
    config = settings.load()
    page = request.ask_jobs(config, _parameters(options, span, config.text("site", "cluster")))
    for warning in page.warnings:
        warn(PROGRAM, f"warning: {warning}")
    if options.json:
        return _print_json(page, span, options.truncate)
    has_quality = any(column.field.name == "Quality" for column in columns)
    cut = (span.start, span.end) if options.truncate else None
    style = os.environ.get("SLURM_TIME_FORMAT", "")
    screen = fields.Screen(*chosen, style, cut, now, mark_simulated=not has_quality)
    for line in _lines(options, page, columns, screen):
        print(line)
    if not has_quality and any(job.get("simulated") for job in page.jobs):
        warn(PROGRAM, "warning: simulated counters had a part in these figures; the field Quality says in which")
    return 0


def _parameters(options: argparse.Namespace, span: Window, cluster: str) -> dict[str, str]:
    """Return the query's parameters. Asking for jobs or nodes by name asks for those of all users, as in sacct."""
    from ..client import selection

    everyone = options.user[-1:] == [EVERYONE]
    users = [user for user in options.user if user != EVERYONE]
    all_users = everyone or (not users and (options.jobs or options.nodelist))
    clusters = ",".join(options.clusters) or cluster
    parameters = {
        "users": "" if everyone else ",".join(users),
        "all_users": "1" if all_users else "",
        "accounts": ",".join(options.accounts),
        "partitions": ",".join(options.partition),
        "qos": ",".join(options.qos),
        "states": selection.states(",".join(options.state)),
        "jobs": selection.job_ids(",".join(options.jobs)),
        "nodes": ",".join(options.nodelist),
        "clusters": "" if clusters.lower() == "all" else clusters,
        "names": ",".join(options.name),
        "start": str(span.start),
        "end": str(span.end),
        "truncate": "1" if options.truncate else "",
        "duplicates": "1" if options.duplicates else "",
    }
    return {key: value for key, value in parameters.items() if value}


def _lines(options: argparse.Namespace, page: Page, columns: list[Column], screen: Screen) -> Iterator[str]:
    from ..client import output

    header = not options.noheader
    if options.csv:
        return output.for_spreadsheets(page.jobs, columns, screen, header)
    if options.parsable:
        ending = options.parsable == "ending"
        return output.for_scripts(page.jobs, columns, screen, header, options.delimiter, ending)
    return output.for_people(page.jobs, columns, screen, header)


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


if __name__ == "__main__":
    sys.exit(main())
