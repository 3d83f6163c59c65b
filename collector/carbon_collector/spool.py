# SPDX-License-Identifier: MIT
"""The spool: sealed segments on local disk, each with a checksum and a name that is unique for ever.

A segment is written beside its place, made durable, and only then given its name: a torn one has none.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, NamedTuple

from . import __version__, munge

SUFFIX = ".jsonl"
REFUSED = "refused"


class Header(NamedTuple):
    """Who a segment is from; see docs/record-format.md."""

    cluster: str
    node: str
    boot_id: str
    stream: str


class Spool:
    """The segments of one node, in `folder`, at most `limit_bytes` of them."""

    def __init__(self, folder: str, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._make()
        for name in os.listdir(folder):
            if name.endswith(f"{SUFFIX}.new"):
                os.unlink(f"{folder}/{name}")  # a collector was killed while it wrote; its state has the rows

    def _make(self) -> None:
        for path in (self.folder, f"{self.folder}/{REFUSED}"):
            os.makedirs(path, mode=0o700, exist_ok=True)

    def segments(self) -> list[str]:
        """Names of the sealed segments, oldest first."""
        names = [name for name in os.listdir(self.folder) if name.endswith(SUFFIX)]
        return sorted(names, key=lambda name: (os.stat(f"{self.folder}/{name}").st_mtime_ns, name))

    def is_empty(self) -> bool:
        """Whether everything has been acknowledged."""
        try:
            with os.scandir(self.folder) as entries:
                return not any(entry.name.endswith(SUFFIX) for entry in entries)
        except FileNotFoundError:
            return True

    def seal(self, header: Header, sequence: int, created: int, records: list[dict[str, Any]]) -> str:
        """Write one segment and return its name. Raises OSError where the disk does not take it."""
        self._make()
        if self.size() > self.limit_bytes:
            raise OSError(f"the spool holds more than {self.limit_bytes >> 20} MiB")
        head = {"type": "segment", "version": 1, **header._asdict(), "sequence": sequence, "created": created}
        lines = [{**head, "collector": __version__}, *records]
        body = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
        end = {"type": "end", "rows": len(records), "sha256": munge.digest(body)}
        name = f"{header.node}.{header.boot_id}.{header.stream}.{sequence:08d}{SUFFIX}"
        write_durably(f"{self.folder}/{name}", body + json.dumps(end, separators=(",", ":")).encode() + b"\n")
        return name

    def size(self) -> int:
        """Bytes in sealed segments."""
        with os.scandir(self.folder) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.name.endswith(SUFFIX))

    def read(self, name: str) -> bytes:
        """A segment's bytes."""
        with open(f"{self.folder}/{name}", "rb") as file:
            return file.read()

    def forget(self, name: str) -> None:
        """The segment is acknowledged."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.folder}/{name}")

    def set_aside(self, name: str) -> None:
        """The segment, or a row of it, was refused for good: keep it for a person to look at."""
        os.replace(f"{self.folder}/{name}", f"{self.folder}/{REFUSED}/{name}")


def write_durably(path: str, data: bytes, mode: int = 0o600, sync: bool = True) -> None:
    """Write a file so that it is there whole or not at all. Raises OSError, leaving nothing behind."""
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
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
