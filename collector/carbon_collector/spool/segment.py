# SPDX-License-Identifier: MIT
"""Defines a segment: the file in which records leave the node, with a checksum and a name that is unique for ever. No
I/O.
"""

from __future__ import annotations

from .. import __version__
from ..lean import json
from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..munge import digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..log import Log

SUFFIX = ".jsonl"
"""Suffix of a segment's name."""
JOURNAL = "streams.json"
"""Name of the compactor's journal, beside the segments."""
MAX_SEGMENTS = 1024
"""Most segments in a spool; more are joined, even if there is room, because each costs time whenever they are listed."""
MAX_BYTES = 8 << 20
"""Largest segment: an aggregator takes no larger one, and a collector writes none."""


class Header(NamedTuple):
    """The origin of a segment; see docs/record-format.md."""

    cluster: str
    node: str
    boot_id: str
    stream: str


class Entry(NamedTuple):
    """The file of a segment in a spool. `stream` is empty where the name is not that of a segment."""

    name: str
    size: int
    mtime_ns: int
    stream: str
    sequence: int


class Spare(NamedTuple):
    """What the compactor needs to make a full spool smaller.

    `stream` is the one that is being written and `last_sealed` its last closed slot. `numbers` returns a sequence and a
    revision for a new segment, which are on disk before they are used. `created` is the time in epoch seconds.
    """

    stream: str
    last_sealed: int
    numbers: Callable[[], tuple[int, int]]
    created: int
    log: Log


def segment(header: Header, sequence: int, created: int, lines: list[bytes]) -> tuple[str, bytes]:
    """Return the name and the content of a segment with these records, as docs/record-format.md describes it."""
    head = {"type": "segment", "version": 1, **header._asdict(), "sequence": sequence, "created": created}
    first = json.dumps({**head, "collector": __version__}).encode()
    parts = [line + b"\n" for line in (first, *lines)]
    end = {"type": "end", "rows": len(lines), "sha256": digest(*parts)}
    parts.append(json.dumps(end).encode() + b"\n")
    return name_of(header, sequence), b"".join(parts)


def name_of(header: Header, sequence: int) -> str:
    """Return the name of a segment, which is unique for ever."""
    return f"{header.node}.{header.boot_id}.{header.stream}.{sequence:08d}{SUFFIX}"


def place_of(name: str) -> tuple[str, int]:
    """Return the stream and the sequence in a segment's name; an empty stream for any other name."""
    parts = name.rsplit(".", 3)
    return (parts[1], int(parts[2])) if len(parts) == 4 and parts[2].isdigit() else ("", 0)
