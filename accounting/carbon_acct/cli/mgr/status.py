# SPDX-License-Identifier: MIT
"""`carbon-mgr status`: shows the state of the accounting, down to the conservation of energy."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...client.safe_text import visible

if TYPE_CHECKING:
    from .. import Parser

ASK_TIMEOUT_S = 60.0
"""Twice as long as the aggregator lets a query run."""


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("status", help="show the state of the accounting, and the conservation of energy")
    p.add_argument("--json", action="store_true", help="print the aggregator's answer as JSON")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...client import status
    from ...client.request import ask

    _, answer = ask(settings.load(options.config), "GET", "/v1/status", ASK_TIMEOUT_S)
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for line in status.lines(answer):
            print(visible(line))
    return 0 if status.conserved(answer) else 1
