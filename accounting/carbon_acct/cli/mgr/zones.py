# SPDX-License-Identifier: MIT
"""`carbon-mgr zones`: lists the grid's zones with their yearly factors."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from carbon_collector.errors import UsageError

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("zones", help="list the zones of the grid and their yearly factors")
    p.add_argument("pattern", nargs="?", default="", metavar="PATTERN", help="part of a zone's code or name")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from carbon_collector.settings import load

    from ...client.zones import nearest, search, use

    use(load(options.config, strict=False).text("grid", "factors"))
    found = search(options.pattern)
    if not found:
        raise UsageError(f"no zone has {options.pattern!r} in its code or name; {nearest(options.pattern)}")
    for f in found:
        print(f"{f.zone:8} {f.g_per_kwh:>8} g/kWh  {f.year}  {f.scope:9}  {f.name}  ({f.source}, {f.licence})")
    return 0
