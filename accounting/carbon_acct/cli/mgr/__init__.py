# SPDX-License-Identifier: MIT
"""carbon-mgr: what an administrator does with the accounting. One module is one command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carbon_collector import __version__

from .. import Parser, funnel
from . import (
    backup,
    checksum,
    config,
    doctor,
    energy,
    import_carbontracker,
    import_electricitymaps,
    ingest,
    init,
    intensity,
    prune,
    recalculate,
    status,
    sync,
    unmatched,
    upgrade,
    zones,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "carbon-mgr"
COMMANDS = (
    init,
    status,
    doctor,
    ingest,
    config,
    zones,
    unmatched,
    sync,
    energy,
    intensity,
    import_carbontracker,
    import_electricitymaps,
    recalculate,
    prune,
    checksum,
    backup,
    upgrade,
)


def parser() -> Parser:
    """Return the command line's parser."""
    p = Parser(prog=PROGRAM, description="Manage the accounting of energy and carbon.")
    p.add_argument("--config", metavar="FILE", default="", help="configuration file")
    p.add_argument("--debug", action="store_true", help="show tracebacks")
    p.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        command.add(commands)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 failed, 2 usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)

    def body() -> int:
        options = parser().parse_args(arguments)
        return int(options.run(options))

    return funnel(PROGRAM, body, "--debug" in arguments)
