# SPDX-License-Identifier: MIT
"""`carbon-mgr unmatched`: ledgers for which Slurm has no job."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...text import visible
from .ask import ask

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("unmatched", help="ledgers for which Slurm has no job")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...status import joules

    found = ask(settings.load(options.config), "GET", "/v1/unmatched")["unmatched"]
    for row in found:
        energy = "energy not known" if row["energy_uj"] is None else f"{joules(row['energy_uj'])} J"
        who = f"user {row['user'] or 'not known'}, account {row['account'] or 'not known'}"
        end = row["closed"] if row["closed"] is not None else "open"
        place = f"{row['cluster']} {row['node']}: job {row['job_id']} {row['run']}"
        print(visible(f"{place}, {row['opened']} to {end}, {who}, {energy}"))
    return 0
