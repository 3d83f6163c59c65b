# SPDX-License-Identifier: MIT
"""Writes a file whole or not at all: first under another name, then renamed."""

from __future__ import annotations

import os


def write_durably(path: str, data: bytes, mode: int = 0o600, sync: bool = True) -> None:
    """Write a file so that it exists whole or not at all.

    With `sync` the file and its name survive a power failure. Raises OSError; then nothing of the new file is left.
    """
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
    except OSError:
        _remove(temporary)
        raise
    finally:
        os.close(fd)
    os.rename(temporary, path)
    if sync:
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def remove(path: str) -> None:
    """Remove a file that may be gone already. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # the folder may have been wiped
