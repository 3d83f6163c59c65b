# SPDX-License-Identifier: MIT
"""`carbon-mgr import-carbontracker`: what Carbontracker's logs say, with what is wrong in them; nothing goes to jobs."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("import-carbontracker", help="runs in Carbontracker's logs, and what is wrong in them")
    p.add_argument("folder", metavar="DIR", type=Path, help="a folder with logs of 1.x and 2.x, or events of the tui")
    how = p.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="everything as JSON")
    how.add_argument("--csv", action="store_true", help="one line a run")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...client.carbontracker import runs
    from ...client.safe_text import visible

    found = runs(options.folder)
    if options.json:
        print(json.dumps([vars(one) for one in found], indent=2))
        return 0
    if options.csv:
        writer = csv.DictWriter(sys.stdout, list(found[0].as_row()), lineterminator="\n")
        writer.writeheader()
        writer.writerows(one.as_row() for one in found)
        return 0
    for one in found:
        version = f" {one.version}" if one.version else ""
        print(visible(f"{one.name}: {one.format}{version}, {one.epochs} epochs or spans"))
        print(f"    it says    {_kwh(one.said_kwh)}")
        print(f"    measured   {_kwh(one.measured_kwh)}, devices added up, without PUE")
        for flag in one.flags:
            print(visible(f"    flag       {flag}"))
    total = sum(one.measured_kwh for one in found if one.measured_kwh is not None)
    print(f"{len(found)} runs, {_kwh(total)} measured; nothing is booked to jobs")
    return 0


def _kwh(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.6f} kWh"
