# SPDX-License-Identifier: MIT
"""Files whose content changes in place, as those of the kernel do: readers keep them open and read again.

A content is never shorter than the one before it, so that a file is never truncated: a reader between
truncation and writing would see nothing.
"""

from __future__ import annotations

import os
from pathlib import Path


class Number:
    """A file with one number and a newline, then more newlines up to a fixed width."""

    def __init__(self, path: Path, width: int = 20, mode: int = 0o444) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        self._width = width

    def write(self, number: int) -> None:
        """Replace the number: one `pwrite`, so that a reader sees the old one or the new one."""
        os.pwrite(self._fd, str(number).encode().ljust(self._width, b"\n"), 0)


class Text:
    """A file with a text of fixed length."""

    def __init__(self, path: Path, mode: int = 0o444) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)

    def write(self, text: str) -> None:
        """Replace the text."""
        os.pwrite(self._fd, text.encode(), 0)


def put(path: Path, text: str, mode: int = 0o444) -> None:
    """Write a file that never changes, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
    path.chmod(mode)
