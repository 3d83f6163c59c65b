# SPDX-License-Identifier: MIT
"""Entry point of the zipapp and of `python -m carbon_collector`."""

import sys

START = "import sys; sys.path.insert(0, sys.argv[1]); from carbon_collector.cli import main; main(sys.argv[2:])"
"""How to run a zipapp without `runpy`, by which Python does it: docs/adr/0002 says what that costs."""
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
"""The C library gives each thread a heap of its own, which costs more than waiting for another thread (mallopt(3))."""

archive = getattr(globals().get("__loader__"), "archive", "")
if archive and sys.executable and sys.argv[1:2] == ["run"]:
    import os

    args = [sys.executable, "-IS", "-c", START, archive, *sys.argv[1:]]
    os.execve(sys.executable, args, {**os.environ, **ONE_HEAP})  # noqa: S606 - no shell is wanted

from .cli import main  # noqa: E402 - only what does not run the program anew needs it

sys.exit(main())
