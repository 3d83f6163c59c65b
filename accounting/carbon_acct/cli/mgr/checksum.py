# SPDX-License-Identifier: MIT
"""`carbon-mgr checksum`: says whether two databases hold the same."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from carbon_collector import settings

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser(
        "checksum", help="print one checksum of everything in the database (on the accounting host)"
    )
    p.add_argument("-t", "--tables", action="store_true", help="also print rows and figure of each table")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...db.checksum import checksum, figures
    from ...db.engine import open_database

    database = open_database(settings.load(options.config))
    try:
        with database.read() as session:
            found = figures(session)
    finally:
        database.close()
    if options.tables:
        for table, figure in sorted(found.items()):
            print(f"{figure.sha256_sum:064x}  {figure.rows:>10}  {table}")
    print(checksum(found))
    return 0
