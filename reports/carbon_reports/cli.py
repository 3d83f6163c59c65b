# SPDX-License-Identifier: MIT
"""carbon-report: writes reports. Administrators run it at the end of a month or a year."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_acct.cli import Parser, funnel
from carbon_collector import __version__, settings
from carbon_collector.errors import UsageError

from .period import days_of, month_of, year_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .period import Period

PROGRAM = "carbon-report"
FORMATS = ("html", "csv", "json", "pdf", "parquet")
USUAL = "html,csv,json,pdf"
PAGES = ("site", "accounts", "users")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = Parser(prog=PROGRAM, description="Write reports on the energy and carbon of the jobs.")
    p.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    p.add_argument("--config", default="", metavar="FILE", help="configuration file")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    reports = p.add_subparsers(dest="report", metavar="REPORT", required=True)
    monthly = reports.add_parser("monthly", help="report a month of the site, of each user and of each account")
    monthly.add_argument("--month", required=True, metavar="YYYY-MM", help="the month, in [site] timezone")
    yearly = reports.add_parser("yearly", help="the same of a year")
    yearly.add_argument("--year", required=True, metavar="YYYY", help="the year, in [site] timezone")
    days = reports.add_parser("days", help="the same of any days, at most a year")
    days.add_argument("--start", required=True, metavar="YYYY-MM-DD", help="the first day, in [site] timezone")
    days.add_argument("--end", required=True, metavar="YYYY-MM-DD", help="the day after the last one")
    for each in (monthly, yearly, days):
        each.add_argument(
            "--output", default="", metavar="DIR", help="folder for the report's own; else [reports] output_dir"
        )
        each.add_argument(
            "--format", default=USUAL, metavar="LIST", help="of html, csv, json, pdf, parquet; else all but parquet"
        )
        each.add_argument("--pdf", default="site", metavar="LIST", help="whose pages are PDFs: site, accounts, users")
        each.add_argument("--no-jobs", action="store_true", help="write no lists of all jobs in CSV and JSON")
    mail = reports.add_parser("send", help="mail each user the month of their own jobs, each once")
    mail.add_argument("--month", required=True, metavar="YYYY-MM", help="the month, in [site] timezone")
    mail.add_argument("--to", default="", metavar="USERS", help="only to these users; commas between")
    mail.add_argument("--again", action="store_true", help="with --to: also to those who were sent one")
    mail.add_argument("--dry-run", action="store_true", help="send nothing; print to whom it would be sent")
    mail.add_argument("--output", default="", metavar="DIR", help="folder of the reports; else [reports] output_dir")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run carbon-report and return its exit status: 0 done, 1 failed, 2 usage."""
    words = sys.argv[1:] if argv is None else list(argv)
    return funnel(PROGRAM, lambda: _run(words), debug="--debug" in words)


def _run(words: list[str]) -> int:
    options = parser().parse_args([word for word in words if word != "--debug"])
    now = int(time.time())
    if options.report == "send":
        return _send(options, now)
    formats = _listed("--format", "format", options.format, FORMATS)
    pages = _listed("--pdf", "kind of pages", options.pdf, PAGES)
    config = settings.load(options.config)
    period = _period(options, config.text("site", "timezone"), now)
    output = Path(options.output or config.text("reports", "output_dir")).absolute()
    from .write import Wanted, write_report  # noqa: PLC0415  the database takes a time that --help does not have

    print(write_report(config, period, output, Wanted(formats, not options.no_jobs, pages), now))
    return 0


def _send(options: argparse.Namespace, now: int) -> int:
    users = [word for word in options.to.split(",") if word]
    if options.again and not users:
        raise UsageError("--again needs --to: nobody is mailed twice by accident")
    config = settings.load(options.config)
    period = month_of(options.month, config.text("site", "timezone"), now)
    output = Path(options.output or config.text("reports", "output_dir")).absolute()
    from .mail.send import Wish, send  # noqa: PLC0415  as above

    return send(config, period, output, Wish(users, options.again, options.dry_run), now)


def _period(options: argparse.Namespace, timezone: str, now: int) -> Period:
    if options.report == "yearly":
        return year_of(options.year, timezone, now)
    if options.report == "days":
        return days_of(options.start, options.end, timezone, now)
    return month_of(options.month, timezone, now)


def _listed(option: str, what: str, text: str, known: Sequence[str]) -> list[str]:
    """Return the words of a list, of which there must be one. Raises UsageError."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in words or [""]:
        if word not in known:
            raise UsageError(f"{option}: unknown {what} {word!r}; one of {', '.join(known)}")
    return words


if __name__ == "__main__":
    sys.exit(main())
