# SPDX-License-Identifier: MIT
"""Rewrites records in fewer bytes: without what is superseded, and with jobs' rows of several slots merged into one. No I/O.

A merged row covers several slots, each with an equal part of its figures, and has a new, higher revision. A copy of an
original that an aggregator has, or gets later, therefore changes nothing. The node's rows keep their slots. They take
over what merging moved from slot to slot, so that each slot still adds up to the microjoule.
"""

from __future__ import annotations

from ..apportion import apportion
from ..lean import json
from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..units import SLOT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

LEDGER, JOB, NODE, DROPPED = "ledger", "job_slot", "node_slot", "dropped"
KINDS = (LEDGER, JOB, NODE, DROPPED)
"""Types of records."""
FOREIGN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Errors that a line which no collector wrote may raise, wherever it is read."""
HOUR, DAY = 4, 96
"""Lengths of an hour and a day in slots. A merged row does not cross the border of a UTC day."""
ADDED = ("alloc_us", "cpu_us")
"""Fields of a row that merging adds up."""
SHARE_ADDED = ("energy_uj", "static_uj", "metered_us")
"""Fields of a component that merging adds up."""
BY_MINUTE = "minute_uj"
"""Field of a component that a merged row no longer has: it would no longer add up to its slots."""
OWN = ("revision", "slot", "slots", *ADDED)
"""Fields in which merged rows may differ. All others are the same, also those that this collector does not know."""


class Line(NamedTuple):
    """A record as a line of a segment, with the fields that identify it: the job's ID and run, the slot, and the
    revision.

    `slots` is the number of slots that it covers, 0 for a record without a slot.
    """

    data: bytes
    kind: str
    key: tuple[int, str]
    slot: int
    slots: int
    revision: int

    @property
    def end(self) -> int:
        """End of its last slot in epoch seconds."""
        return self.slot + self.slots * SLOT_S


class Loss(NamedTuple):
    """The number of dropped records, and what the node's meters had counted in their slots, [since, until)."""

    rows: int
    since: int
    until: int
    energy_uj: dict[str, int]

    def plus(self, other: Loss) -> Loss:
        """Return the sum of both losses."""
        names = {**self.energy_uj, **other.energy_uj}
        energy_uj = {name: self.energy_uj.get(name, 0) + other.energy_uj.get(name, 0) for name in names}
        since, until = min(self.since, other.since), max(self.until, other.until)
        return Loss(self.rows + other.rows, since, until, energy_uj)

    def line(self, revision: int) -> Line:
        """Return the record as docs/record-format.md describes it."""
        return written({"type": DROPPED, "revision": revision, **self._asdict()})


def read(data: bytes) -> Line:
    """Parse one line of a segment into a Line. Raises an error of FOREIGN for what is no record."""
    record = json.loads(data)
    slots = record.get("slots", 1) if "slot" in record else 0
    key = (record.get("job_id", 0), record.get("run", ""))
    line = Line(data, record["type"], key, record.get("slot", 0), slots, record["revision"])
    hash(line.key)
    hash(line.kind)
    if any(type(number) is not int for number in line[3:]) or slots < ("slot" in record):
        raise ValueError("slot, slots or revision is no such number")
    return line


def written(record: dict[str, Any]) -> Line:
    """Encode a new record as JSON, and return it as a Line."""
    return read(json.dumps(record).encode())


def live(lines: list[Line]) -> list[Line]:
    """Return the lines that no single line of a later revision supersedes in all their slots."""
    newest: dict[tuple[Any, ...], Line] = {}
    wide: dict[tuple[int, str], list[Line]] = {}
    for line in lines:
        place = line[1:5] if line.kind in KINDS else line[:1]
        if place not in newest or newest[place].revision < line.revision:
            newest[place] = line
    for line in newest.values():
        if line.slots > 1:
            wide.setdefault(line.key, []).append(line)

    def holds(line: Line) -> bool:
        over = wide.get(line.key, ()) if line.kind == JOB else ()
        return not any(w.revision > line.revision and w.slot <= line.slot and line.end <= w.end for w in over)

    return [line for line in newest.values() if holds(line)]


def merge(lines: list[Line], width: int, is_final: Callable[[Line], bool], revision: int) -> list[Line]:
    """Merge the rows of each job in a stretch of `width` slots, if they are consecutive and alike.

    `is_final` tells whether no other segment has, or will have, a later record of a line's slots.
    """
    node = {line.slot: line for line in lines if line.kind == NODE and is_final(line)}
    known = {slot: _known(json.loads(line.data)) for slot, line in node.items()}
    jobs: dict[tuple[int, str], list[Line]] = {}
    for line in lines:
        if line.kind == JOB and is_final(line):
            jobs.setdefault(line.key, []).append(line)
    moved: dict[int, dict[str, int]] = {}
    gone: set[bytes] = set()
    new: list[Line] = []
    for rows in jobs.values():
        for stretch in _stretches(sorted(rows, key=lambda row: row.slot), width, known):
            merged = _merged([json.loads(row.data) for row in stretch], revision, stretch)
            gone.update(row.data for row in stretch)
            new.append(written(merged))
            _move(moved, merged, stretch)
    shifted = {slot: moves for slot, moves in moved.items() if any(moves.values())}
    adjusted = [_adjusted(json.loads(node[slot].data), moves, revision) for slot, moves in shifted.items()]
    gone.update(node[slot].data for slot in shifted)
    return [line for line in lines if line.data not in gone] + new + adjusted


def _known(record: dict[str, Any]) -> set[str]:
    """Return the components with a known energy."""
    return {name for name, share in record["components"].items() if share["energy_uj"] is not None}


def _stretches(rows: list[Line], width: int, known: dict[int, set[str]]) -> Iterator[list[Line]]:
    """Yield groups of two and more rows of a job, in order of time, that can become one row."""
    stretch: list[Line] = []
    alike = None
    for row in rows:
        record = json.loads(row.data)
        nature = (row.slot // (width * SLOT_S), _nature(record))
        slots = range(row.slot, row.end, SLOT_S)
        covered = all(slot in known and known[slot] >= _known(record) for slot in slots)
        follows = stretch and stretch[-1].end == row.slot and nature == alike
        if not (follows and covered):
            if len(stretch) > 1:
                yield stretch
            stretch = []
        if covered and row.end <= (nature[0] + 1) * width * SLOT_S:
            stretch.append(row)
            alike = nature
    if len(stretch) > 1:
        yield stretch


def _nature(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return what must be the same in rows that are merged."""
    shares = {
        name: [_rest(share, (*SHARE_ADDED, "reason", BY_MINUTE)), _unknown(share)] for name, share in _shares(record)
    }
    return _rest(record, (*OWN, "components")), _unknown(record), shares


def _shares(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(record["components"].items())


def _rest(record: dict[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in without}


def _unknown(record: dict[str, Any]) -> list[str]:
    return [name for name in (*ADDED, *SHARE_ADDED) if record.get(name, 0) is None]


def _merged(records: list[dict[str, Any]], revision: int, stretch: list[Line]) -> dict[str, Any]:
    first = records[0]
    slots = sum(row.slots for row in stretch)
    components = {name: _sum([r["components"][name] for r in records], SHARE_ADDED) for name in first["components"]}
    merged = {**_sum(records, ADDED), "revision": revision, "components": components}
    merged.pop("slots", None)
    at = list(merged).index("slot") + 1  # beside it, where it is found without parsing the line
    return dict([*list(merged.items())[:at], ("slots", slots), *list(merged.items())[at:]])


def _sum(records: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the first record with the sums of all; what is unknown in one is unknown in all."""
    sums = {name: sum(r[name] for r in records) for name in names if records[0].get(name) is not None}
    reasons = [r["reason"] for r in records if r.get("reason")]
    return {**_rest(records[0], (BY_MINUTE,)), **sums, **({"reason": reasons[0]} if reasons else {})}


def _move(moved: dict[int, dict[str, int]], merged: dict[str, Any], stretch: list[Line]) -> None:
    """Note, by slot and component, how much more a slot has in the merged row than in the rows that it replaces."""
    for sign, record in ((1, merged), *((-1, json.loads(row.data)) for row in stretch)):
        slots = record.get("slots", 1)
        for name, share in _shares(record):
            for i, energy_uj in enumerate(apportion(share["energy_uj"] or 0, [1] * slots)):
                moves = moved.setdefault(record["slot"] + i * SLOT_S, {})
                moves[name] = moves.get(name, 0) + sign * energy_uj


def _adjusted(record: dict[str, Any], moves: dict[str, int], revision: int) -> Line:
    """Return the node's row, adjusted to what its jobs' rows now have in the slot."""
    for name, moved_uj in moves.items():
        if moved_uj:
            record["components"][name]["energy_uj"] += moved_uj
    return written({**record, "revision": revision})


def drop(lines: list[Line], until: int) -> tuple[list[Line], Loss]:
    """Return the lines without rows of slots before `until` and ledgers that closed before it, and what was lost.

    No row may cross `until`.
    """
    kept: list[Line] = []
    loss = Loss(0, until, until, {})
    for line in lines:
        if not _is_before(line, until):
            kept.append(line)
            continue
        known = _shares(json.loads(line.data)) if line.kind == NODE else []
        energy_uj = {name: share["energy_uj"] for name, share in known if share["energy_uj"] is not None}
        loss = loss.plus(Loss(1, line.slot if line.slots else until, until, energy_uj))
    return kept, loss


def _is_before(line: Line, until: int) -> bool:
    if line.kind == LEDGER:
        closed = json.loads(line.data)["closed"]
        return closed is not None and closed < until
    return line.kind in (JOB, NODE) and line.end <= until
