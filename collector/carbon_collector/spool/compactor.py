# SPDX-License-Identifier: MIT
"""Makes room in a full spool, oldest segments first.

First what is superseded goes, then time grows coarser, and only then the oldest slots are dropped and counted.
Consecutive segments become one new segment in their place. A collector that is killed in between leaves both. That does
no harm: a record that exists twice is superseded, not added.
"""

from __future__ import annotations

import os
import time

from ..durable import write_durably
from ..lean import json
from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..munge import digest
from ..units import SLOT_S, UJ_PER_J
from . import coarsen
from .coarsen import DAY, DROPPED, FOREIGN, HOUR, Line, Loss
from .notes import Note, Notes, loss_of
from .segment import MAX_SEGMENTS, Entry, Header, name_of, segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .segment import Spare
    from .spool import Spool

WINDOW = 256 * 1024
"""Bytes of segments that are merged at once: the memory that a node can spare for a moment."""
WINDOWS = 4
"""Least number of windows in a spool; in a small spool a window is smaller."""
SLOT_BYTES = 24
"""Weight of a slot of a row in a window: an aggregator makes a row of each, and takes 40,000 in a segment."""
LARGEST = 4 << 20
"""Largest merged segment: an aggregator takes no more than 8 MiB."""
JOINED, HOURS, DAYS, BAD = 1, 2, 3, 9
"""Levels of compaction of a segment. A bad segment is left for the aggregator to refuse."""
FOR_EVER = 1 << 62
"""A time after all others."""


class Facts(NamedTuple):
    """The slots [first, end) of a segment's rows, its highest revision, and the sum of its rows' numbers of slots."""

    first: int
    end: int
    revision: int
    slots: int


class Window(NamedTuple):
    """Consecutive segments of one stream, and their records without those that are superseded."""

    entries: list[Entry]
    header: Header
    lines: list[Line]


class Compactor:
    """Compacts one spool, and remembers which segments it need not look at again."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.notes = Notes(spool.folder)
        self.window_bytes = min(WINDOW, spool.limit_bytes // WINDOWS)
        self._levels: dict[str, int] = {}
        self._facts: dict[str, Facts] = {}
        self._taken: list[Entry] = []

    def make_room(self, need: int, spare: Spare) -> None:
        """Make room for `need` bytes as far as possible. Raises OSError where the disk takes no segment."""
        with self.spool.lock:
            names = {entry.name for entry in self.spool.entries()}
            self._levels = {name: level for name, level in self._levels.items() if name in names}
            self._facts = {name: facts for name, facts in self._facts.items() if name in names}
            if self.notes.made in names:
                self.spool.forget_all(self.notes.of_these)  # the disk did not let go of them
            for _ in range(len(names) // MAX_SEGMENTS):
                self._try(self._join, spare)
            for step in (self._join, self._to_hours, self._to_days, self._drop):
                while need <= self.spool.limit_bytes < self.spool.size() + need and self._try(step, spare):
                    pass

    def _try(self, step: Callable[[Spare], bool], spare: Spare) -> bool:
        """Return whether a step found something to compact. Segments that it cannot read are left for the aggregator."""
        self._taken = []
        try:
            return step(spare)
        except FOREIGN as err:
            names = [entry.name for entry in self._taken]
            if not names:
                raise  # no segment's fault
            self._levels.update(dict.fromkeys(names, BAD))
            spare.log.once("foreign", f"segments are left as they are, from {names[0]} on: {type(err).__name__}: {err}")
            return True

    # -- the steps: each compacts the oldest window that it can, and says whether there was one -------------------

    def _join(self, spare: Spare) -> bool:
        """Merge small segments into one, without what is superseded."""
        for run in self._runs(lambda entry: self._weight(entry) < self.window_bytes // 2):
            window = self._window(run)
            if window:
                self._replace(window, window.lines, self._numbers(window, spare)[0], JOINED, spare)
            return True
        return False

    def _to_hours(self, spare: Spare) -> bool:
        return self._merge(HOURS, HOUR, spare)

    def _to_days(self, spare: Spare) -> bool:
        return self._merge(DAYS, DAY, spare)

    def _merge(self, level: int, width: int, spare: Spare) -> bool:
        spare.log.once("compact", f"the spool in {self.spool.folder} is full: its oldest slots are made coarser")
        for run in self._runs(lambda entry: self._levels.get(entry.name, 0) < level):
            window = self._window(run)
            if window:
                sequence, revision = self._numbers(window, spare)
                lines = coarsen.merge(window.lines, width, self._finality(window, spare), revision)
                self._levels.update((entry.name, level) for entry in run)
                if sum(len(line.data) for line in lines) < sum(entry.size for entry in run) * 7 // 8:
                    self._replace(window, lines, sequence, level, spare)
            return True
        return False

    def _drop(self, spare: Spare) -> bool:
        """Drop the oldest slots that no other segment has rows of."""
        seen: set[str] = set()
        for run in self._runs(lambda _: True, least=1):
            first, stream = min(self._facts_of(entry).first for entry in run), run[0].stream
            if stream in seen or first == FOR_EVER:
                continue
            seen.add(stream)  # what is newer stays while the oldest has to
            limit = min([_end(stream, spare), *(o.first for o in self._others(run) if o.end > first)])
            window = self._window(run) if first < limit else None
            if window:
                lines, loss = coarsen.drop(window.lines, _border(window.lines, limit))
                if loss.rows:
                    self._give_up(window, lines, loss, spare)
                    return True
        return False

    def _give_up(self, window: Window, lines: list[Line], loss: Loss, spare: Spare) -> None:
        """Replace a window by what is left of it, with a record of what the stream has lost so far."""
        stream = window.header.stream
        told = [loss_of(json.loads(line.data)) for line in lines if line.kind == DROPPED]
        noted = self.notes.of(stream).dropped or loss._replace(rows=0, energy_uj={})
        total = max([*told, noted], key=lambda one: one.rows).plus(loss)
        sequence, revision = self._numbers(window, spare)
        kept = [line for line in lines if line.kind != DROPPED]
        self._write(window, [*kept, total.line(revision)], sequence, DAYS, spare)
        self._note(window, Note(sequence, revision, total), {entry.stream for entry in self.spool.entries()})
        self._forget(window)
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(loss.until))
        joules = sum(loss.energy_uj.values()) // UJ_PER_J
        spare.log.line(
            f"the spool is full: {loss.rows} records from before {until} are dropped, {joules} J of the node"
        )

    # -- windows ----------------------------------------------------------------------------------------------------

    def _runs(self, wanted: Callable[[Entry], bool], least: int = 0) -> Iterator[list[Entry]]:
        """Yield consecutive segments, oldest first, that fill a window, or half of one where no more follow."""
        run: list[Entry] = []
        size = 0
        for entry in self.spool.entries():
            fits = bool(entry.stream) and entry.name != self.spool.flying and wanted(entry)
            fits = fits and self._levels.get(entry.name) != BAD
            if not fits or (run and (entry.stream != run[0].stream or self._is_large(entry, size))):
                if run and size >= (least or self.window_bytes // 2):
                    yield run
                run, size = [], 0
            if fits:
                run, size = [*run, entry], size + self._weight(entry)
            if size >= self.window_bytes:
                yield run
                run, size = [], 0
        if run and size >= (least or self.window_bytes // 2):
            yield run

    def _is_large(self, entry: Entry, size: int) -> bool:
        """Return whether a run of that size and the segment would exceed what an aggregator takes, in bytes or slots."""
        return size + entry.size > LARGEST or self._facts_of(entry).slots * SLOT_BYTES > WINDOW

    def _weight(self, entry: Entry) -> int:
        return max(entry.size, self._facts_of(entry).slots * SLOT_BYTES)

    def _window(self, run: list[Entry]) -> Window | None:
        """Return the window of these segments, or None if one of them is damaged or has an unknown form. That one is
        never tried again.
        """
        self._taken = run
        headers, lines = [], []
        for entry in run:
            try:
                header, records = _read(self.spool.read(entry.name))
            except (OSError, *FOREIGN):
                self._levels[entry.name] = BAD
                return None
            headers.append(header)
            lines += records
        return Window(run, headers[0], coarsen.live(lines))

    def _numbers(self, window: Window, spare: Spare) -> tuple[int, int]:
        """Return a sequence and a revision that the stream has never used."""
        sequence, revision = spare.numbers()
        stream = window.header.stream
        note, here = self.notes.of(stream), self.spool.entries(refused=True)
        if stream != spare.stream:
            # It has ended. Segments leave in order: what it had last is still here, or was made here.
            sequence = 1 + max(note.sequence, *(entry.sequence for entry in here if entry.stream == stream))
            known = [self._facts_of(entry).revision for entry in self.spool.entries() if entry.stream == stream]
            revision = 1 + max(revision, note.revision, *known)
        note = note._replace(sequence=sequence, revision=revision)
        self._note(window, note, {spare.stream, *(entry.stream for entry in here)})
        return sequence, revision

    def _note(self, window: Window, note: Note, streams: set[str]) -> None:
        names = [entry.name for entry in window.entries]
        self.notes.keep(window.header.stream, note, streams, name_of(window.header, note.sequence), names)

    def _others(self, run: list[Entry]) -> list[Facts]:
        """Return the facts of the stream's other segments, with the one that is being sent."""
        names = {entry.name for entry in run}
        entries = [e for e in self.spool.entries() if e.stream == run[0].stream and e.name not in names]
        return [self._facts_of(entry) for entry in entries]

    def _facts_of(self, entry: Entry) -> Facts:
        if entry.name not in self._facts:
            try:
                self._facts[entry.name] = _facts(self.spool.read(entry.name))
            except (OSError, ValueError):
                return Facts(FOR_EVER, 0, 0, 0)
        return self._facts[entry.name]

    def _finality(self, window: Window, spare: Spare) -> Callable[[Line], bool]:
        """Return a function that tells whether no other segment has, or will have, a later record of a line's slots."""
        end = _end(window.header.stream, spare)
        oldest = min((line.revision for line in window.lines), default=0)
        first = min((line.slot for line in window.lines if line.slots), default=0)
        later = [facts for facts in self._others(window.entries) if facts.revision > oldest and facts.end > first]
        return lambda line: line.end <= end and not any(o.first < line.end and line.slot < o.end for o in later)

    def _replace(self, window: Window, lines: list[Line], sequence: int, level: int, spare: Spare) -> None:
        if lines:
            self._write(window, lines, sequence, level, spare)
        self._forget(window)

    def _write(self, window: Window, lines: list[Line], sequence: int, level: int, spare: Spare) -> None:
        name, data = segment(window.header, sequence, spare.created, [line.data for line in lines])
        write_durably(f"{self.spool.folder}/{name}", data)
        os.utime(f"{self.spool.folder}/{name}", ns=(window.entries[-1].mtime_ns,) * 2)
        self._levels[name] = level

    def _forget(self, window: Window) -> None:
        self.spool.forget_all(entry.name for entry in window.entries)


def _facts(body: bytes) -> Facts:
    """Return the facts of a segment, without parsing its lines, for a spool has many. Raises ValueError for no segment."""
    revisions = [int(rest.partition(b",")[0]) for rest in body.split(b'"revision":')[1:]]
    first, end, count = FOR_EVER, 0, 0
    for place in body.split(b'"slot":')[1:]:
        slot, _, rest = place.partition(b",")
        slots = int(rest[8:].partition(b",")[0]) if rest.startswith(b'"slots":') else 1
        first, end, count = min(first, int(slot)), max(end, int(slot) + slots * SLOT_S), count + slots
    return Facts(first, end, max(revisions, default=0), count)


def _read(body: bytes) -> tuple[Header, list[Line]]:
    """Return a segment's header and records. Raises an error of FOREIGN for what is no segment."""
    first, *records, last, rest = body.split(b"\n")
    end, head = json.loads(last), json.loads(first)
    if rest or digest(body[: -len(last) - 1]) != end["sha256"]:
        raise ValueError("torn")
    return Header(*(str(head[name]) for name in Header._fields)), [coarsen.read(record) for record in records]


def _end(stream: str, spare: Spare) -> int:
    """Return the end of the stream's closed slots: in a stream that has ended all slots are closed."""
    if stream != spare.stream:
        return FOR_EVER
    return spare.last_sealed + SLOT_S if spare.last_sealed else 0


def _border(lines: list[Line], limit: int) -> int:
    """Return the next border of a UTC day after the oldest row, moved so that it is not after `limit` and cuts no row."""
    rows = [line for line in lines if line.slots]
    day_s = DAY * SLOT_S
    border = min(limit, min((row.slot for row in rows), default=0) // day_s * day_s + day_s)
    while True:
        across = [row.slot for row in rows if row.slot < border < row.end]
        if not across:
            return border
        border = min(across)
