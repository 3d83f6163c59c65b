# SPDX-License-Identifier: MIT
"""The spool: sealed segments on local disk, each with a checksum and a name that is unique for ever.

A segment is written beside its place, made durable, and only then given its name: a torn one has none.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from stat import S_ISREG

from .. import __version__, munge
from ..lean import jsontext
from ..lean.named import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..log import Log
    from .compactor import Compactor

SUFFIX = ".jsonl"
REFUSED = "refused"
REFUSED_PART = 8
"""Refused segments take at most one eighth of the limit, besides: they are there for a person, not for an aggregator."""
MAX_SEGMENTS = 1024
"""More files than these are joined, however much room there is: each costs time whenever they are listed."""
MAX_BYTES = 8 << 20
"""An aggregator takes no larger segment, and none is written here."""
NOTES = "streams.json"
"""File beside the segments: what has become of those that are no more."""
COUNT = "dropped"
"""File in refused/: how many refused segments made place for newer ones."""


class Header(NamedTuple):
    """Who a segment is from; see docs/record-format.md."""

    cluster: str
    node: str
    boot_id: str
    stream: str


class Entry(NamedTuple):
    """A sealed segment's file; what has no segment's name is of stream ""."""

    name: str
    size: int
    mtime_ns: int
    stream: str
    sequence: int


class Spare(NamedTuple):
    """What a full spool needs to become smaller: the stream that is being written, its last slot that is closed,
    numbers for new segments (sequence and revision, on disk before they are used), the time, and whom to tell.
    """

    stream: str
    last_sealed: int
    numbers: Callable[[], tuple[int, int]]
    created: int
    log: Log


class Spool:
    """The segments of one node, in `folder`, at most `limit_bytes` of them.

    `flying` is the segment that is on its way to an aggregator; it changes, and others are compacted, under `lock`.
    """

    def __init__(self, folder: str, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.lock = allocate_lock()
        self.flying = ""
        self._compactor: Compactor | None = None
        self._make()
        for name in os.listdir(folder):
            if name.endswith(f"{SUFFIX}.new"):
                os.unlink(f"{folder}/{name}")  # a collector was killed while it wrote; its state has the rows
        if os.path.exists(f"{folder}/{NOTES}"):
            self._finish()

    def _finish(self) -> None:
        """A collector was killed when it had made one segment of several: those are then no more needed."""
        from .notes import Notes

        notes = Notes(self.folder)
        if notes.made and os.path.exists(f"{self.folder}/{notes.made}"):
            for name in notes.of_these:
                self.forget(name)

    def _make(self) -> None:
        for path in (self.folder, f"{self.folder}/{REFUSED}"):
            os.makedirs(path, mode=0o700, exist_ok=True)

    def entries(self, refused: bool = False) -> list[Entry]:
        """The sealed segments, oldest first; `refused`: also those that were refused."""
        found = []
        for folder in (self.folder, f"{self.folder}/{REFUSED}") if refused else (self.folder,):
            with os.scandir(folder) as entries:
                for entry in entries:
                    stat = _stat(entry) if entry.name.endswith(SUFFIX) else None
                    if stat:
                        found.append(Entry(entry.name, stat.st_size, stat.st_mtime_ns, *_place(entry.name)))
        return sorted(found, key=lambda entry: (entry.mtime_ns, entry.name))

    def segments(self) -> list[str]:
        """Names of the sealed segments, oldest first."""
        return [entry.name for entry in self.entries()]

    def is_empty(self) -> bool:
        """Whether everything has been acknowledged."""
        try:
            with os.scandir(self.folder) as entries:
                return not any(entry.name.endswith(SUFFIX) for entry in entries)
        except FileNotFoundError:
            return True

    def seal(
        self, header: Header, sequence: int, created: int, records: list[dict[str, Any]], spare: Spare | None = None
    ) -> str:
        """Write one segment and return its name. Raises OSError where the disk, or the limit, does not take it.

        What is there already makes room as far as it can, where there is a `spare`.
        """
        self._make()
        lines = [jsontext.dumps(record).encode() for record in records]
        name, data = segment(header, sequence, created, lines)
        entries = self.entries()
        short = self._is_short(entries, len(data)) and len(data) <= self.limit_bytes
        if spare and (short or len(entries) > MAX_SEGMENTS):
            self._make_room(len(data), spare)
            entries = self.entries()
        if self._is_short(entries, len(data)):
            raise OSError(f"the spool holds more than {self.limit_bytes >> 20} MiB with one more segment")
        path = f"{self.folder}/{name}"
        write_durably(path, data)
        # Segments leave in the order in which they were sealed, whatever happened to the clock.
        after_ns = max((entry.mtime_ns for entry in entries), default=0) + 1
        if os.stat(path).st_mtime_ns < after_ns:
            os.utime(path, ns=(after_ns, after_ns))
        return name

    def _is_short(self, entries: list[Entry], need: int) -> bool:
        return sum(entry.size for entry in entries) + need > self.limit_bytes

    def _make_room(self, need: int, spare: Spare) -> None:
        from .compactor import Compactor  # only in a long outage

        self._compactor = self._compactor or Compactor(self)
        self._compactor.make_room(need, spare)

    def size(self) -> int:
        """Bytes in sealed segments."""
        return sum(entry.size for entry in self.entries())

    def fly(self, name: str) -> None:
        """A segment is on its way to an aggregator, or (without a name) none is: meanwhile it is left as it is."""
        with self.lock:
            self.flying = name

    def read(self, name: str) -> bytes:
        """A segment's bytes. Raises OSError, at once, where the file is none."""
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
        """The segment is acknowledged."""
        try:
            os.unlink(f"{self.folder}/{name}")
        except FileNotFoundError:
            return

    def set_aside(self, name: str) -> int:
        """The segment, or a row of it, was refused for good: keep it for a person to look at.

        Returns how many refused ones had to be dropped for it, the oldest first; the newest always stays.
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


def segment(header: Header, sequence: int, created: int, lines: list[bytes]) -> tuple[str, bytes]:
    """Name and content of a segment with these records, as docs/record-format.md has it."""
    head = {"type": "segment", "version": 1, **header._asdict(), "sequence": sequence, "created": created}
    first = jsontext.dumps({**head, "collector": __version__}).encode()
    body = b"".join(line + b"\n" for line in (first, *lines))
    end = {"type": "end", "rows": len(lines), "sha256": munge.digest(body)}
    return name_of(header, sequence), body + jsontext.dumps(end).encode() + b"\n"


def name_of(header: Header, sequence: int) -> str:
    """A segment's name, unique for ever."""
    return f"{header.node}.{header.boot_id}.{header.stream}.{sequence:08d}{SUFFIX}"


def _place(name: str) -> tuple[str, int]:
    """Stream and sequence that a segment's name says; "" for what is no segment's."""
    parts = name.rsplit(".", 3)
    return (parts[1], int(parts[2])) if len(parts) == 4 and parts[2].isdigit() else ("", 0)


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    """`None` for a segment that was acknowledged since it was listed."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _count(path: str, more: int) -> None:
    """Add to the number in a file; one that holds no number starts anew."""
    try:
        with open(path, encoding="ascii") as file:
            before = int(file.read())
    except (OSError, ValueError):
        before = 0
    write_durably(path, f"{before + more}\n".encode(), sync=False)


def write_durably(path: str, data: bytes, mode: int = 0o600, sync: bool = True, uid: int = -1) -> None:
    """Write a file, of the user `uid` if that is given, so that it is there whole or not at all.

    Raises OSError, or OverflowError for a uid that is none, leaving nothing behind.
    """
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        os.fchown(fd, uid, -1)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
    except (OSError, OverflowError):
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
