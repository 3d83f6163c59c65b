# SPDX-License-Identifier: MIT
"""Replaces a report on disk as a whole: readers find the old one or the new one, never half of either."""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_collector.errors import CarbonError

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = ".carbon-report"
"""The name of the file that marks a folder as a report. Only such a folder is ever replaced."""

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class OutputError(CarbonError):
    """The report cannot be written where it should be."""


def file_stem(name: str) -> str:
    """Return a file name for a user or an account, whatever its name: `alice`, else its plain characters and a digest."""
    if PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{'_'.join(re.findall(r'[A-Za-z0-9]+', name))[:40]}~{digest}"


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of `folder` if the block ends well. Raises OutputError."""
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    old = fresh.with_name(f"{fresh.name}.old")
    try:
        if folder.exists() and not (folder / MARK).is_file():
            raise OutputError(f"{folder}: exists and is no report; move it away or choose another --output")
        fresh.mkdir(parents=True)
        (fresh / MARK).write_text("Written by carbon-report; it replaces this folder.\n", encoding="ascii")
        yield fresh
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as err:
        raise OutputError(f"{err.filename or folder}: {err.strerror}; nothing was written") from err
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
