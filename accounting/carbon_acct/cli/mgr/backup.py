# SPDX-License-Identifier: MIT
"""`carbon-mgr backup` and `carbon-mgr restore`: write the database into a file, and fill a database from one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...client.safe_text import visible

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the commands."""
    p = commands.add_parser("backup", help="write the database into a file, while others use it")
    p.add_argument("file", metavar="FILE", type=Path)
    p.set_defaults(run=run)
    p = commands.add_parser("restore", help="fill an empty database from a backup")
    p.add_argument("file", metavar="FILE", type=Path)
    p.set_defaults(run=restore)


def run(options: argparse.Namespace) -> int:
    """Run the command `backup`."""
    from ...db.engine import open_database
    from ...db.transfer import backup

    database = open_database(settings.load(options.config))
    try:
        backup(database, options.file)
    finally:
        database.close()
    print(visible(f"{database.shown}: written to {options.file}, {options.file.stat().st_size} bytes"))
    return 0


def restore(options: argparse.Namespace) -> int:
    """Run the command `restore`."""
    from ...db.engine import open_database
    from ...db.transfer import restore as fill

    database = open_database(settings.load(options.config))
    try:
        fill(database, options.file)
    finally:
        database.close()
    print(visible(f"{database.shown}: filled from {options.file}"))
    return 0
