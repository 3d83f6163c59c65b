# SPDX-License-Identifier: MIT
"""`carbon-mgr config`: lists every setting and where its value came from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...client.safe_text import visible

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("config", help="list every setting, its value, and where the value came from")
    p.add_argument("--example", action="store_true", help="print a commented file with every setting at its default")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.example:
        print(settings.example(), end="")
        return 0
    config = settings.load(options.config)
    for s in settings.SETTINGS:
        value = config.text(s.section, s.key)
        print(visible(f"[{s.section}] {s.key} = {value}".rstrip() + f"  ({config.origin(s.section, s.key)})"))
    return 0
