# SPDX-License-Identifier: MIT
"""Reads a provider's token from a file of its own, which nobody else can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from carbon_acct.errors import ProviderError

LONGEST = 4096


def read_token(path: Path) -> str:
    """Return the token in a file. The file is read each time, so that a renewed token needs no restart. Raises
    ProviderError.
    """
    try:
        # Not to hang on a FIFO that somebody put there.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as f:
            status = os.fstat(f.fileno())
            content = f.read(LONGEST + 1) if stat.S_ISREG(status.st_mode) else None
    except OSError as e:
        raise ProviderError(f"token file {path}: {e.strerror}", kind="token_unreadable", permanent=True) from e
    if content is None:
        raise ProviderError(f"token file {path} is not a regular file", kind="token_unreadable", permanent=True)
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise ProviderError(
            f"token file {path} has mode {mode:04o}; others can read it: chmod 600", kind="token_mode", permanent=True
        )
    return _token(path, content)


def _token(path: Path, content: bytes) -> str:
    """Return the one word of a token file. A message never quotes it."""
    words = content.split()
    if (
        len(words) != 1
        or len(content) > LONGEST
        or not words[0].isascii()
        or not words[0].decode("ascii").isprintable()
    ):
        raise ProviderError(
            f"token file {path} does not hold one word of printable ASCII", kind="token_content", permanent=True
        )
    return words[0].decode("ascii")
