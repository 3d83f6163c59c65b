# SPDX-License-Identifier: MIT
"""`carbon-mgr doctor`: checks the site and says what to do where something is wrong."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...client.safe_text import visible

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("doctor", help="check the site from end to end, and say what to fix")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ... import doctor
    from ...slurm.programs import Programs

    well = True
    for found in doctor.findings(lambda: settings.load(options.config), options.config, Programs()):
        well &= found.level != doctor.FIX
        print(visible(f"{found.level:<5} {found.subject}: {found.text}"), flush=True)
    return 0 if well else 1
