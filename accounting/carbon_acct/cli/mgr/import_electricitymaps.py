# SPDX-License-Identifier: MIT
"""`carbon-mgr import-electricitymaps`: makes the site's own table of yearly factors ([grid] factors) from CSV files."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser(
        "import-electricitymaps", help="yearly factors of zones from files of Electricity Maps' data portal"
    )
    p.add_argument("files", nargs="+", metavar="FILE", type=Path, help="CSV file of yearly granularity, one or more")
    p.add_argument(
        "--scope",
        choices=["lifecycle", "direct"],
        default="lifecycle",
        help="scope of the factors (default: lifecycle)",
    )
    p.add_argument("--output", metavar="FILE", type=Path, help="write the table to FILE instead of standard output")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Raises ProviderError, which names file and line, and then writes nothing."""
    from ...client.zones import Factor
    from ...grid.yearly_file import factors

    rows = [dataclasses.asdict(one) for one in factors(options.files, options.scope)]
    columns = [field.name for field in dataclasses.fields(Factor)]
    with options.output.open("w", encoding="utf-8") if options.output else sys.stdout as out:
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0
