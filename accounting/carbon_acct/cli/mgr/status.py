# SPDX-License-Identifier: MIT
"""`carbon-mgr status`: the state of the accounting, down to the conservation line."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...client.safe_text import visible
from .ask import ask

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("status", help="state of the accounting, and the conservation of energy")
    p.add_argument("--json", action="store_true", help="the aggregator's answer as it is")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...client import status

    answer = ask(settings.load(options.config), "GET", "/v1/status")
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for line in status.lines(answer):
            print(visible(line))
    return 0 if status.conserved(answer) else 1
