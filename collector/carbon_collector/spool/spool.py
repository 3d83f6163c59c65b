# SPDX-License-Identifier: MIT
"""Keeps sealed segments on local disk until an aggregator has acknowledged them.

A segment is written under another name, made durable, and only then given its own, so no file with a segment's name is
incomplete. What its records mean is not known here.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from stat import S_ISREG

from ..durable import write_durably
from ..lean.typing import TYPE_CHECKING
from .segment import MAX_BYTES, MAX_SEGMENTS, SUFFIX, Entry, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSED = "refused"
"""Folder of refused segments."""
REFUSED_PART = 8
"""Refused segments take at most one eighth of the limit, in addition. They are for a person, not for an aggregator."""
COUNT = "dropped"
"""File in refused/ that counts the refused segments which were dropped for newer ones."""


class Spool:
    """The segments of one node, in `folder`, at most `limit_bytes` of them. Raises OSError where it cannot be made.

    `flying` is the segment that is being sent to an aggregator; it changes, and others are compacted, under `lock`.
    """

    def __init__(self, folder: str, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.lock = allocate_lock()
        self.flying = ""
        self._make()
        for name in os.listdir(folder):
            if name.endswith(f"{SUFFIX}.new"):
                os.unlink(f"{folder}/{name}")  # a collector was killed while it wrote; its state has the rows

    def _make(self) -> None:
        for path in (self.folder, f"{self.folder}/{REFUSED}"):
            os.makedirs(path, mode=0o700, exist_ok=True)

    def entries(self, refused: bool = False) -> list[Entry]:
        """Return the sealed segments, oldest first; with `refused` also those that were refused."""
        found = []
        for folder in (self.folder, f"{self.folder}/{REFUSED}") if refused else (self.folder,):
            with os.scandir(folder) as entries:
                for entry in entries:
                    stat = _stat(entry) if entry.name.endswith(SUFFIX) else None
                    if stat:
                        found.append(Entry(entry.name, stat.st_size, stat.st_mtime_ns, *place_of(entry.name)))
        return sorted(found, key=lambda entry: (entry.mtime_ns, entry.name))

    def segments(self) -> list[str]:
        """Return the names of the sealed segments, oldest first."""
        return [entry.name for entry in self.entries()]

    def is_empty(self) -> bool:
        """Return whether every segment has been acknowledged."""
        try:
            with os.scandir(self.folder) as entries:
                return not any(entry.name.endswith(SUFFIX) for entry in entries)
        except FileNotFoundError:
            return True

    def should_shrink(self, need: int) -> bool:
        """Return whether the spool should be compacted before `need` bytes are added."""
        self._make()
        entries = self.entries()
        return need <= self.limit_bytes and (self._is_short(entries, need) or len(entries) > MAX_SEGMENTS)

    def add(self, name: str, data: bytes) -> None:
        """Write one segment. Raises OSError where the disk, or the limit, does not allow it."""
        self._make()
        entries = self.entries()
        if self._is_short(entries, len(data)):
            raise OSError(f"the spool holds more than {self.limit_bytes >> 20} MiB with one more segment")
        path = f"{self.folder}/{name}"
        write_durably(path, data)
        # Segments leave in the order in which they were sealed, whatever happened to the clock.
        after_ns = max((entry.mtime_ns for entry in entries), default=0) + 1
        if os.stat(path).st_mtime_ns < after_ns:
            os.utime(path, ns=(after_ns, after_ns))

    def _is_short(self, entries: list[Entry], need: int) -> bool:
        return sum(entry.size for entry in entries) + need > self.limit_bytes

    def forget_all(self, names: Iterable[str]) -> None:
        """Remove segments that are acknowledged, or that were merged into another one."""
        for name in names:
            self.forget(name)

    def size(self) -> int:
        """Return the bytes in sealed segments."""
        return sum(entry.size for entry in self.entries())

    def fly(self, name: str) -> None:
        """Note the segment that is being sent (an empty name: none), so that the compactor leaves it as it is."""
        with self.lock:
            self.flying = name

    def read(self, name: str) -> bytes:
        """Return the bytes of a segment. Raises OSError, at once, for what is no regular file."""
        fd = os.open(f"{self.folder}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            stat = os.fstat(fd)
            if not S_ISREG(stat.st_mode) or stat.st_size > MAX_BYTES:
                raise OSError(f"{name} is no segment")
            with open(fd, "rb", closefd=False) as file:
                return file.read(MAX_BYTES)
        finally:
            os.close(fd)

    def forget(self, name: str) -> None:
        """Remove a segment that is acknowledged."""
        try:
            os.unlink(f"{self.folder}/{name}")
        except FileNotFoundError:
            return

    def set_aside(self, name: str) -> int:
        """Keep a segment that was refused for good, wholly or in part, for a person to look at.

        Returns how many older refused segments had to be dropped for it; the newest always stays.
        """
        refused = f"{self.folder}/{REFUSED}"
        os.replace(f"{self.folder}/{name}", f"{refused}/{name}")
        with os.scandir(refused) as entries:
            stats = [(entry.stat(), entry.path) for entry in entries if entry.name.endswith(SUFFIX)]
        kept = sorted((stat.st_mtime_ns, path, stat.st_size) for stat, path in stats)
        size, dropped = sum(size for _, _, size in kept), 0
        for _, path, each in kept[:-1]:
            if size <= self.limit_bytes // REFUSED_PART:
                break
            os.unlink(path)
            size -= each
            dropped += 1
        if dropped:
            _count(f"{refused}/{COUNT}", dropped)
        return dropped


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return a file's status; `None` if the segment was acknowledged since it was listed."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None


def _count(path: str, more: int) -> None:
    """Add to the number in a file; a file without a number counts from 0."""
    try:
        with open(path, encoding="ascii") as file:
            before = int(file.read())
    except (OSError, ValueError):
        before = 0
    write_durably(path, f"{before + more}\n".encode(), sync=False)
