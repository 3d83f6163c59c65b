# SPDX-License-Identifier: MIT
"""Replaces a report on disk as a whole: readers find the old one or the new one, never half of either."""

from __future__ import annotations

import grp
import hashlib
import os
import re
import secrets
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_collector.errors import CarbonError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = ".carbon-report"
"""The name of the file that marks a folder as a report. Only such a folder is ever replaced."""

FILE_MODE, FOLDER_MODE = 0o640, 0o750
PLACE_MODE = 0o755
"""The folder that holds all reports: whoever may read one of them must be able to enter it."""

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class OutputError(CarbonError):
    """The report cannot be written where it should be."""


def file_stem(name: str) -> str:
    """Return a file name for a user or an account, whatever its name: `alice`, else its plain characters and a digest."""
    if PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{'_'.join(re.findall(r'[A-Za-z0-9]+', name))[:40]}~{digest}"


def group_of(name: str) -> int:
    """Return the number of the group `[reports] readers`, or -1 for the writer's own. Raises SettingsError."""
    if not name:
        return -1
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise SettingsError(f"[reports] readers = {name}: no such group on this host") from None


@contextmanager
def replaced(folder: Path, group: int = -1) -> Iterator[Path]:
    """Yield a new folder that takes the place of `folder` if the block ends well. Raises OutputError.

    Its files are for their owner and for `group`; -1: the writer's own.
    """
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    old = fresh.with_name(f"{fresh.name}.old")
    try:
        if folder.exists() and not (folder / MARK).is_file():
            raise OutputError(f"{folder}: exists and is no report; move it away or choose another --output")
        if not folder.parent.is_dir():
            folder.parent.mkdir(parents=True)
            folder.parent.chmod(PLACE_MODE)
        fresh.mkdir(mode=0o700)
        (fresh / MARK).write_text("Written by carbon-report; it replaces this folder.\n", encoding="ascii")
        yield fresh
        for path in fresh.rglob("*"):
            for_readers(path, group)
        for_readers(fresh, group)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as err:
        raise OutputError(f"{err.filename or folder}: {err.strerror}; nothing was written") from err
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)


def for_readers(path: Path, group: int) -> None:
    """Let the owner write, the group read, and nobody else do either. Raises OSError."""
    if group != -1:
        os.chown(path, -1, group)
    path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def put(path: Path, text: str, group: int) -> None:
    """Replace a single file as a whole. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fresh.write_text(text, encoding="utf-8", newline="")
        for_readers(fresh, group)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
