# SPDX-License-Identifier: MIT
"""carbon-acct: shows jobs with their energy and carbon to those who may see them, as sacct shows jobs.

Like sacct it must start fast. It uses the standard library only, and imports a module only on the path that needs it.
"""

from __future__ import annotations

import gc
import sys

from carbon_collector.lean.typing import TYPE_CHECKING

from .. import funnel
from .options import PROGRAM, given, parser

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PROGRAM", "main", "parser"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run carbon-acct and return its exit status: 0 done, 1 failed, 2 usage."""
    if argv is None:
        gc.disable()  # a program that ends soon has nothing to gain from looking through its jobs for cycles
    words = sys.argv[1:] if argv is None else list(argv)
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without UTF-8 gets escapes, not a traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    return funnel(PROGRAM, lambda: _run(words), debug="--debug" in words)


def _run(words: list[str]) -> int:
    if words[:1] == ["show"]:
        from . import show

        return show.run(words[1:])
    options = given(words)
    if options.usage:
        print(f"Usage: {PROGRAM} [options]\n\tUse --help for help")
        return 0
    if options.helpformat:
        from ...client import fields

        print(fields.names_in_rows())
        return 0
    if options.web:
        from . import web

        return web.run()
    if options.by or options.waste or options.idle or options.advice or options.compare:
        from . import sums

        return sums.run(options)
    from . import jobs

    return jobs.run(options)
