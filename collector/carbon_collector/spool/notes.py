# SPDX-License-Identifier: MIT
"""The compactor's journal (streams.json).

For each stream it holds the highest sequence and revision used, and what was dropped. It also records which segments
are being merged into which, so that a collector that was killed during a merge deletes the leftovers when it restarts.
"""

from __future__ import annotations

import os

from ..durable import write_durably
from ..lean import json
from ..lean.typing import TYPE_CHECKING, NamedTuple
from .coarsen import Loss
from .segment import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Note(NamedTuple):
    """The note of one stream; `dropped` is `None` while it has lost nothing."""

    sequence: int
    revision: int
    dropped: Loss | None


class Notes:
    """The journal in a spool's folder. One that cannot be read is begun anew.

    `made` is the segment that was made last, `of_these` the segments that were merged into it.
    """

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/{JOURNAL}"
        self._streams: dict[str, Note] = {}
        self.made = ""
        self.of_these: list[str] = []
        try:
            with open(self.path, encoding="utf-8") as file:
                saved = json.loads(file.read())
                self._streams = {stream: _load(one) for stream, one in saved["streams"].items()}
                self.made, self.of_these = str(saved["made"]), list(map(str, saved["of"]))
        except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
            return

    def of(self, stream: str) -> Note:
        """Return the note of a stream."""
        return self._streams.get(stream, Note(0, 0, None))

    def keep(self, stream: str, note: Note, others: Iterable[str], made: str, of_these: list[str]) -> None:
        """Write down, durably, a merge that is about to be done. Raises OSError.

        Of a stream that is neither this one nor in `others` the note is kept only if it has lost something.
        """
        here = {stream, *others}
        self._streams[stream] = note
        self._streams = {name: one for name, one in self._streams.items() if name in here or one.dropped}
        self.made, self.of_these = made, of_these
        streams = {name: _save(one) for name, one in self._streams.items()}
        write_durably(self.path, json.dumps({"streams": streams, "made": made, "of": of_these}).encode())


def loss_of(record: dict[str, Any]) -> Loss:
    """Return the loss that a record, or the journal, states."""
    return Loss(record["rows"], record["since"], record["until"], record["energy_uj"])


def _save(note: Note) -> dict[str, Any]:
    dropped = note.dropped._asdict() if note.dropped else None
    return {"sequence": note.sequence, "revision": note.revision, "dropped": dropped}


def _load(saved: dict[str, Any]) -> Note:
    dropped = loss_of(saved["dropped"]) if saved["dropped"] else None
    return Note(int(saved["sequence"]), int(saved["revision"]), dropped)


def unfinished(folder: str) -> list[str]:
    """Return the segments that a merge has made superfluous, but did not delete because the collector was killed."""
    notes = Notes(folder)
    return notes.of_these if notes.made and os.path.exists(f"{folder}/{notes.made}") else []
