# SPDX-License-Identifier: MIT
"""`carbon-mgr ingest`: stores segments that came as files, without a network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...client.safe_text import visible

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("ingest", help="store segments from files (on the accounting host)")
    p.add_argument("files", nargs="+", metavar="FILE", type=Path)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...delivery.from_files import ingest_file
    from ...site import open_site

    site = open_site(settings.load(options.config))
    complete = True
    try:
        for path in options.files:
            outcome = ingest_file(site, path)
            complete &= outcome.complete
            print(visible(f"{path}: {outcome.line}"), file=sys.stdout if outcome.complete else sys.stderr)
    finally:
        site.database.close()
    return 0 if complete else 1
