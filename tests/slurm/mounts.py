# SPDX-License-Identifier: MIT
"""Mounts: how a namespace shows its own files at the paths where programs look, and the host's everywhere else.

Nothing is created on the host: where a path does not exist there, its parent is shadowed, which is a tmpfs
with every entry of the parent bound (or, for links, copied) back in.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 0x1000, 0x2000, 0x4000, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str | Path, target: str | Path, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system or bind a folder, by the system call. Raises OSError naming the target."""
    arguments = [str(source).encode(), str(target).encode(), fstype.encode() or None]
    if _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def bind(source: str | Path, target: str | Path) -> None:
    """Show `source` (with what is mounted below it) at `target`, which exists."""
    mount(source, target, flags=MS_BIND | MS_REC)


def tmpfs(target: str | Path, mode: int = 0o755) -> None:
    """Mount an empty tmpfs."""
    mount("tmpfs", target, "tmpfs", data=f"mode={mode:o}")


class Private:
    """Directories of this mount namespace that are its own. `staging` is an empty folder to build them in."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._shadowed: set[Path] = set()

    def shadow(self, directory: Path, without: tuple[str, ...] = ()) -> None:
        """Make `directory` writable for this namespace alone; the entries `without` are left out."""
        if directory in self._shadowed:
            return
        tmpfs(self._staging, directory.stat().st_mode & 0o7777)
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name not in without:
                    _bring_back(Path(entry.path), self._staging / entry.name)
        mount(self._staging, directory, flags=MS_MOVE)
        self._shadowed.add(directory)

    def folder(self, path: Path, source: Path | None = None, mode: int = 0o755) -> None:
        """Have an empty folder at `path`, or `source` bound there; the host may have something there or not."""
        if not path.is_dir():
            if not path.parent.is_dir():
                self.folder(path.parent)
            self.shadow(path.parent)
            path.mkdir()
        if source:
            bind(source, path)
        else:
            tmpfs(path, mode)
            self._shadowed.add(path)

    def file(self, path: Path, source: Path) -> None:
        """Show the file `source` at `path`."""
        if not path.is_file():
            self.shadow(path.parent)
            path.touch()
        bind(source, path)


def _bring_back(original: Path, copy: Path) -> None:
    if original.is_symlink():
        copy.symlink_to(original.readlink())
        shutil.copymode(original, copy, follow_symlinks=False)
    elif original.is_dir():
        copy.mkdir()
        bind(original, copy)
    else:
        copy.touch()
        bind(original, copy)
