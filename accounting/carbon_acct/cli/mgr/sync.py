# SPDX-License-Identifier: MIT
"""`carbon-mgr sync`: makes the aggregator poll Slurm now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from carbon_collector import settings

if TYPE_CHECKING:
    from .. import Parser

SYNC_TIMEOUT_S = 600.0


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("sync", help="make the aggregator poll Slurm now")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...client.request import ask

    _, answer = ask(settings.load(options.config), "POST", "/v1/sync", SYNC_TIMEOUT_S)
    print(f"{answer['jobs_changed']} jobs new or changed")
    return 0
