# SPDX-License-Identifier: MIT
"""The command line of carbon-acct: sacct's names and letters, and those of the sums."""

from __future__ import annotations

import argparse

from carbon_collector import __version__
from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from ...client.habits import ACCEPTED, REFUSED
from .. import Parser

if TYPE_CHECKING:
    from typing import Any

PROGRAM = "carbon-acct"
EVERYONE = "-1"  # sacct knows -u -1 as well; of -a and -u the last one holds
ALIKE = 0.75
"""How alike an unknown long option has to be to a known one to be taken for its misspelling."""
EPILOG = """\
Times: HH:MM[:SS] [AM|PM], MMDD[YY], MM/DD[/YY], MM.DD[.YY], YYYY-MM-DD[THH:MM[:SS]], a date and a time with T, -
or a blank between, now[{+|-}count[seconds|minutes|hours|days|weeks]], today, tomorrow, midnight, elevenses, noon,
fika, teatime.
`carbon-acct show JOBID` shows one job on a page. Options of sacct that are not listed here: see carbon-acct(1).
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


class _Refuse(argparse.Action):
    """Ends with the line that says why sacct's option is not one here, and what to do instead."""

    def __call__(self, *of_argparse: Any) -> None:
        raise UsageError(f"{of_argparse[3]} is an option of sacct's that is not one here: {self.const}")


def parser() -> Parser:
    """Return the command line's parser."""
    p = _Parser(
        prog=PROGRAM,
        description="Show jobs with their energy and carbon, or sums of them.",
        epilog=EPILOG,
        formatter_class=_Unmeasured,
    )
    _which(p.add_argument_group("which jobs"))
    _when(p.add_argument_group("when: jobs that overlap a window; midnight to now if not said"))
    _sums(p.add_argument_group("sums instead of jobs, of whole days of the site; this month if not said"))
    _how(p.add_argument_group("how"))
    other = p.add_argument_group("other")
    other.add_argument("-e", "--helpformat", action="store_true", help="list the fields")
    other.add_argument("-v", "--verbose", action="count", default=0, help="say which window was asked for")
    other.add_argument(
        "--web", action="store_true", help="print a link that signs you in to carbon-web, once, within a minute"
    )
    other.add_argument("--usage", action="store_true", help="print one line of usage")
    other.add_argument("--debug", action="store_true", help="show where an error comes from")
    other.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    for habit in ACCEPTED:
        p.add_argument(*habit.flags, action="store_true", dest="ignored", help=argparse.SUPPRESS)
    for habit in REFUSED:
        takes: dict[str, Any] = {} if habit.takes is True else {"nargs": "?" if habit.takes else 0}
        p.add_argument(*habit.flags, action=_Refuse, const=habit.text, help=argparse.SUPPRESS, **takes)
    return p


def _which(group: argparse._ArgumentGroup) -> None:
    comma: dict[str, Any] = {"action": "append", "default": [], "metavar": "LIST"}
    group.add_argument(
        "-a",
        "--allusers",
        dest="user",
        action="append_const",
        default=[],
        const=EVERYONE,
        help="jobs of all users, as far as you may see them",
    )
    group.add_argument("-u", "--user", "--uid", **comma, help="jobs of these users; without it your own, for root all")
    group.add_argument("-g", "--gid", "--group", **comma, help="jobs under these groups")
    group.add_argument("-A", "--accounts", **comma, help="jobs under these accounts")
    group.add_argument("-r", "--partition", **comma, help="jobs in these partitions")
    group.add_argument("-q", "--qos", **comma, help="jobs with these qualities of service")
    group.add_argument("-s", "--state", **comma, help="jobs in these states in the window, e.g. CA or CANCELLED")
    group.add_argument("-j", "--jobs", **comma, help="these jobs: 12, 12_3, 12_[1-4], 12+1")
    group.add_argument("-N", "--nodelist", **comma, help="jobs that ran on any of these nodes, e.g. n[1-4]")
    group.add_argument("-M", "--clusters", "--cluster", **comma, help="jobs of these clusters, or `all`")
    group.add_argument("-L", "--allclusters", action="store_true", help="jobs of all clusters")
    group.add_argument("--name", **comma, help="jobs with these names, exactly")
    bound: dict[str, Any] = {"default": "", "metavar": "MIN[-MAX]"}
    group.add_argument("-i", "--nnodes", **bound, help="jobs with so many nodes")
    group.add_argument("-I", "--ncpus", **bound, help="jobs with so many CPUs")
    group.add_argument(
        "-k", "--timelimit-min", default="", metavar="TIME", help="jobs with this time limit; with -K the least"
    )
    group.add_argument(
        "-K", "--timelimit-max", default="", metavar="TIME", help="the greatest time limit; nothing without -k"
    )
    group.add_argument("-D", "--duplicates", action="store_true", help="every run of a JobID, not only the newest")


def _when(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-S", "--starttime", default="", metavar="TIME", help="start; with -j the epoch, with -s now")
    group.add_argument("-E", "--endtime", default="", metavar="TIME", help="end; with -s the start, else now")
    group.add_argument("--month", default="", metavar="MONTH", help="a month of the site: 2026-10, this or last")
    group.add_argument("-T", "--truncate", action="store_true", help="only what lies inside the window counts")


def _sums(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="WORDS",
        help="a row for each user, account, partition, qos, state, cluster, day, week, month, or several of them",
    )
    group.add_argument(
        "--top", type=int, default=0, metavar="N", help="only the N rows of most energy, and the others as one"
    )
    group.add_argument(
        "--compare",
        nargs="?",
        const="previous",
        default="",
        choices=("previous", "year"),
        help="beside it the window before, or the same a year before",
    )
    group.add_argument("--waste", action="store_true", help="energy that no result came of, by rule")
    group.add_argument("--idle", action="store_true", help="idle and system beside the jobs, PUE, shares (operators)")
    group.add_argument("--advice", action="store_true", help="what would save energy, from your own jobs")


def _how(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--format",
        "--fields",
        action="append",
        default=[],
        metavar="LIST",
        help="fields, each with %%WIDTH if need be (negative: left-aligned), or ALL",
    )
    group.add_argument("-b", "--brief", action="store_true", help="JobID, State and ExitCode")
    group.add_argument("-l", "--long", action="store_true", help="every field of energy and carbon")
    group.add_argument("-n", "--noheader", action="store_true", help="print no header")
    group.add_argument(
        "-p",
        "--parsable",
        dest="parsable",
        action="store_const",
        const="ending",
        default="",
        help="print `|` after every value",
    )
    group.add_argument(
        "-P", "--parsable2", dest="parsable", action="store_const", const="between", help="print `|` between the values"
    )
    group.add_argument("--delimiter", default="|", metavar="TEXT", help="the delimiter, instead of `|`")
    group.add_argument(
        "--units", default="", metavar="UNIT", help="units of Energy and Carbon: K, M, kWh, MJ, `Wh,g` ..."
    )
    group.add_argument("--noconvert", action="store_true", help="memory in MiB, as Slurm keeps it")
    group.add_argument("--use-local-uid", action="store_true", help="UID as this host knows the user")
    group.add_argument("--json", action="store_true", help="print everything as JSON, in the units of the HTTP API")
    group.add_argument("--csv", action="store_true", help="print comma-separated values for a spreadsheet")


def given(words: list[str]) -> argparse.Namespace:
    """Return what a command line asks for. Raises UsageError."""
    p = parser()
    options, unknown = p.parse_known_args(words)
    if unknown:
        p.error(f"unknown argument {unknown[0]!r}{_hint(p, unknown[0].partition('=')[0])}")
    if options.json and options.csv:
        p.error("--json and --csv exclude each other")
    if options.month and (options.starttime or options.endtime):
        p.error("--month is a window of its own: leave -S and -E out")
    if options.top and not options.by:
        p.error("--top is for the rows of --by")
    if options.top < 0:
        p.error("--top: a number of rows from 1 on")
    return options


def _hint(p: argparse.ArgumentParser, word: str) -> str:
    """Return `; did you mean ...?` for a long option that is much like one of ours; never for a letter."""
    if not word.startswith("--"):
        return ""
    import difflib

    known = [name for action in p._actions for name in action.option_strings if name.startswith("--")]
    close = difflib.get_close_matches(word, known, 1, ALIKE)
    return f"; did you mean {close[0]}?" if close else ""
