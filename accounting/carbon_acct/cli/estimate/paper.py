# SPDX-License-Identifier: MIT
"""`carbon-estimate --paper`: the statement of measured jobs for a paper or a model card."""

from __future__ import annotations

from carbon_collector.errors import CarbonError, UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from .. import Parser
from .common import PROGRAM, configuration, number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

FORMS = ("latex", "markdown", "huggingface", "json")
TRAINING = ("pre-training", "fine-tuning")


def parser() -> Parser:
    """Return the parser of the options of --paper, which have the letters of carbon-acct."""
    p = Parser(prog=PROGRAM, description="Print the statement of measured jobs.", allow_abbrev=False)
    p.add_argument("--paper", action="store_true", help="this form of the command")
    p.add_argument("-j", "--jobs", default="", metavar="LIST", help="these jobs")
    p.add_argument("-A", "--accounts", default="", metavar="LIST", help="your jobs under these accounts")
    p.add_argument("-u", "--users", default="", metavar="LIST", help="jobs of these users, as far as you may see them")
    p.add_argument("-S", "--starttime", default="", metavar="TIME", help="jobs from then on")
    p.add_argument("-E", "--endtime", default="", metavar="TIME", help="jobs until then")
    p.add_argument("--format", choices=FORMS, default="latex", help="form of the statement")
    p.add_argument("--training-type", default="", metavar="TEXT", help="for huggingface: pre-training or fine-tuning")
    p.add_argument("--offset", default="", metavar="KG", help="kilograms that were offset: a line of its own")
    p.add_argument("--json", dest="format", action="store_const", const="json", help="as --format json")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(words: Sequence[str]) -> int:
    """Print the statement. Raises UsageError; CarbonError where there is no job."""
    from ...client import request
    from ...client.estimate import measured, paper

    options = parser().parse_args(list(words))
    if not options.jobs and not (options.starttime or options.accounts):
        raise UsageError("--paper: say which jobs: -j LIST, or -A LIST -S TIME -E TIME")
    offset = number("offset", options.offset, 0, 1e12) if options.offset else None
    found = request.ask_jobs(configuration(), _parameters(options)).jobs
    if not found:
        raise CarbonError("none of your jobs match; carbon-acct shows those that there are")
    print(paper.statement(measured.sums(found), options.format, options.training_type, offset))
    return 0


def _parameters(options: argparse.Namespace) -> dict[str, str]:
    import time

    from ...client import selection

    span = selection.window(options.starttime, options.endtime, bool(options.jobs), False, int(time.time()))
    parameters = {
        "jobs": selection.job_ids(options.jobs),
        "accounts": options.accounts,
        "users": options.users,
        "all_users": "1" if options.jobs and not options.users else "",
        "start": str(span.start),
        "end": str(span.end),
        "duplicates": "1",
    }
    return {key: value for key, value in parameters.items() if value}
