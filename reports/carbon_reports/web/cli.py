# SPDX-License-Identifier: MIT
"""carbon-web: shows users their own usage in a browser, behind the site's web proxy, in the foreground."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carbon_acct.cli import Parser, funnel
from carbon_collector import __version__, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "carbon-web"


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, and return the exit status: 0 done, 1 failed, 2 usage."""
    words = sys.argv[1:] if argv is None else list(argv)
    return funnel(PROGRAM, lambda: _run(words), debug="--debug" in words)


def _run(words: list[str]) -> int:
    p = Parser(prog=PROGRAM, description="Show users their own usage in a browser, behind the site's web proxy.")
    p.add_argument("--config", metavar="FILE", default="", help="configuration file")
    p.add_argument("--debug", action="store_true", help="log more; show tracebacks")
    p.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    options = p.parse_args(words)
    config = settings.load(options.config)
    from .serve import serve  # noqa: PLC0415  the database takes a time that --help does not have

    serve(config, options.debug)
    return 0


if __name__ == "__main__":
    sys.exit(main())
