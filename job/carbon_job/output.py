# SPDX-License-Identifier: MIT
"""Takes marks out of a command's standard output, for programs that have nothing else: inside a container, or on the other
side of ssh, no descriptor is inherited.

Everything else is passed on byte for byte, and at once. A line that is a mark begins with `carbon-track: `, as in
`carbon-track: epoch`, or is one of carbontracker-tui's, `carbontracker:{"type": "start", "span_id": ...}`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from . import marks

OURS, THEIRS = b"carbon-track: ", b"carbontracker:"
EPOCH = "epoch"
MOST_BYTES = 4096
"""The most bytes of a line that may be a mark. A longer one is output."""


class Output(threading.Thread):
    """Passes what comes from `reader` on to the descriptor `writer`, and calls `mark` with each mark in it.

    It ends when nobody has the other end of `reader` open, as the last program of a pipeline does.
    """

    def __init__(self, reader: int, writer: int, mark: Callable[[marks.Line], None]) -> None:
        super().__init__(name="carbon_job output", daemon=True)
        self._reader, self._writer, self._mark = reader, writer, mark
        self._sieve = Sieve()

    def run(self) -> None:
        """Pass on until the end. If nobody reads the output any more, the command finds that out as well."""
        try:
            while data := os.read(self._reader, 65536):
                self._put(*self._sieve.take(data))
            self._put(self._sieve.rest(), [])
        except OSError:
            return
        finally:
            os.close(self._reader)

    def _put(self, text: bytes, found: list[marks.Line]) -> None:
        for line in found:
            self._mark(line)
        view = memoryview(text)
        while view:
            view = view[os.write(self._writer, view) :]


class Sieve:
    """Separates lines that are marks from all others. Pure."""

    def __init__(self) -> None:
        self._held = b""
        """The begin of a line that may become a mark."""
        self._inside = False
        """Whether the begin of the current line was passed on."""

    def take(self, data: bytes) -> tuple[bytes, list[marks.Line]]:
        """Return what of the data is to be passed on by now, and the marks in it."""
        out, found = [], []
        for piece in _lines(self._held + data):
            line = None if self._inside else parse(piece)
            self._held = b""
            if line is not None:
                found.append(line)
            elif not self._inside and _may_become(piece):
                self._held = piece
            else:
                out.append(piece)
                self._inside = not piece.endswith(b"\n")
        return b"".join(out), found

    def rest(self) -> bytes:
        """Return what was held back when the output ends."""
        held, self._held = self._held, b""
        return held


def parse(line: bytes) -> marks.Line | None:
    """Return the mark in a whole line of output, or None."""
    if not line.endswith(b"\n") or len(line) > MOST_BYTES:
        return None
    if line.startswith(OURS):
        return marks.parse(line[len(OURS) :].decode("utf-8", "replace"))
    return _theirs(line[len(THEIRS) :]) if line.startswith(THEIRS) else None


def _theirs(text: bytes) -> marks.Line | None:
    """Return a mark of carbontracker-tui: a span begins or ends. One whose name begins with `epoch` is an epoch."""
    import json

    try:
        facts = json.loads(text)
        kind, name = facts["type"], str(facts["span_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if kind not in ("start", "stop") or not name:
        return None
    if name.lower().startswith(EPOCH):
        return marks.Line(EPOCH if kind == "start" else "end", "", None)
    return marks.Line("begin" if kind == "start" else "close", name, None)


def _may_become(piece: bytes) -> bool:
    """Return whether the begin of a line may become a mark when the rest of it comes."""
    if piece.endswith(b"\n") or len(piece) > MOST_BYTES:
        return False
    return any(piece[: len(prefix)] == prefix[: len(piece)] for prefix in (OURS, THEIRS))


def _lines(data: bytes) -> list[bytes]:
    """Return the lines of data, which only a line feed ends."""
    pieces = data.split(b"\n")
    return [piece + b"\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
