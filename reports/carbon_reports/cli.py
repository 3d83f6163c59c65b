# SPDX-License-Identifier: MIT
"""carbon-report: writes reports. Administrators run it at the end of a month."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_acct.cli import Parser, funnel
from carbon_collector import __version__, settings
from carbon_collector.errors import UsageError

from .month import month_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "carbon-report"
FORMATS = ("html", "csv", "json")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = Parser(prog=PROGRAM, description="Write reports on the energy and carbon of the jobs.")
    p.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    p.add_argument("--config", default="", metavar="FILE", help="configuration file")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    reports = p.add_subparsers(dest="report", metavar="REPORT", required=True)
    monthly = reports.add_parser("monthly", help="report a month of the site, of each user and of each account")
    monthly.add_argument("--month", required=True, metavar="YYYY-MM", help="the month, in [site] timezone")
    monthly.add_argument("--output", default="", metavar="DIR", help="folder for YYYY-MM/; else [reports] output_dir")
    monthly.add_argument("--format", default=",".join(FORMATS), metavar="LIST", help="of html, csv, json; else all")
    monthly.add_argument("--no-jobs", action="store_true", help="write no lists of all jobs in CSV and JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run carbon-report and return its exit status: 0 done, 1 failed, 2 usage."""
    words = sys.argv[1:] if argv is None else list(argv)
    return funnel(PROGRAM, lambda: _run(words), debug="--debug" in words)


def _run(words: list[str]) -> int:
    options = parser().parse_args([word for word in words if word != "--debug"])
    formats = [word.strip().lower() for word in options.format.split(",") if word.strip()]
    for word in formats or [""]:
        if word not in FORMATS:
            raise UsageError(f"--format: unknown format {word!r}; one of {', '.join(FORMATS)}")
    now = int(time.time())
    config = settings.load(options.config)
    month = month_of(options.month, config.text("site", "timezone"), now)
    output = Path(options.output or config.text("reports", "output_dir")).absolute()
    from .monthly import Wanted, write_monthly  # noqa: PLC0415  the database takes a time that --help does not have

    print(write_monthly(config, month, output, Wanted(formats, not options.no_jobs), now))
    return 0


if __name__ == "__main__":
    sys.exit(main())
