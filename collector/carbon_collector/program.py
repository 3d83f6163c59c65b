# SPDX-License-Identifier: MIT
"""Watches the program's own file: whether it was replaced under the running collector. Then the collector starts again.

A module that is imported late would be read from the new file, at the places where the old one had it. So a collector
whose file was replaced starts again, as the same process and with the same arguments; its state is on disk.
"""

from __future__ import annotations

import os
import sys
import time

SETTLED_S = 2.0
"""A file that was written so recently may still be being written."""


class Program:
    """The zipapp, or the installed package, as it was when the collector started."""

    def __init__(self) -> None:
        self.path = _path()
        self._was = _identity(self.path)

    def was_replaced(self) -> bool:
        """Return whether another file is in its place, whole by all appearances; False while none is there."""
        now = _identity(self.path)
        return now is not None and now != self._was and time.time() - now[2] / 1e9 > SETTLED_S

    def start_again(self) -> None:
        """Replace this process by the new program. This closes locks and files. Raises OSError."""
        with open("/proc/self/cmdline", "rb") as file:
            args = file.read().split(b"\0")[:-1]
        os.execv(sys.executable, args)  # noqa: S606 - no shell is wanted


def _path() -> str:
    """Return the zipapp that this module is in, or else the package's own file."""
    path = os.path.dirname(os.path.abspath(__file__))
    while path != "/" and not os.path.exists(path):
        path = os.path.dirname(path)
    return path if os.path.isfile(path) else f"{path}/__init__.py"


def _identity(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
