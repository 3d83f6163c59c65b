# SPDX-License-Identifier: MIT
"""What a spool that was full notes: of each stream the highest numbers that it gave to segments and what was dropped,
and which segments became which, so that a collector killed in between does not leave both.
"""

from __future__ import annotations

from ..lean import jsontext
from ..lean.named import TYPE_CHECKING, NamedTuple
from .coarsen import Loss
from .spool import NOTES, write_durably

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Note(NamedTuple):
    """One stream's; `dropped` is `None` while it has lost nothing."""

    sequence: int
    revision: int
    dropped: Loss | None


class Notes:
    """The file in a spool's folder; one that cannot be read is begun anew."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/{NOTES}"
        self._streams: dict[str, Note] = {}
        self.made = ""
        self.of_these: list[str] = []
        try:
            with open(self.path, encoding="utf-8") as file:
                saved = jsontext.loads(file.read())
                self._streams = {stream: _load(one) for stream, one in saved["streams"].items()}
                self.made, self.of_these = str(saved["made"]), list(map(str, saved["of"]))
        except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
            return

    def of(self, stream: str) -> Note:
        """What is known of a stream."""
        return self._streams.get(stream, Note(0, 0, None))

    def keep(self, stream: str, note: Note, others: Iterable[str], made: str, of_these: list[str]) -> None:
        """Write it down, durably, before it is done. Of streams other than `others` only what they lost is kept.
        Raises OSError.
        """
        here = {stream, *others}
        self._streams[stream] = note
        self._streams = {name: one for name, one in self._streams.items() if name in here or one.dropped}
        self.made, self.of_these = made, of_these
        streams = {name: _save(one) for name, one in self._streams.items()}
        write_durably(self.path, jsontext.dumps({"streams": streams, "made": made, "of": of_these}).encode())


def loss_of(record: dict[str, Any]) -> Loss:
    """From a record, or from the file."""
    return Loss(record["rows"], record["since"], record["until"], record["energy_uj"])


def _save(note: Note) -> dict[str, Any]:
    dropped = note.dropped._asdict() if note.dropped else None
    return {"sequence": note.sequence, "revision": note.revision, "dropped": dropped}


def _load(saved: dict[str, Any]) -> Note:
    dropped = loss_of(saved["dropped"]) if saved["dropped"] else None
    return Note(int(saved["sequence"]), int(saved["revision"]), dropped)
