# SPDX-License-Identifier: MIT
"""Says what segments say in fewer bytes: what is superseded goes, then jobs' rows of the oldest slots become one. No I/O.

A merged row covers several slots, each with an even part of its figures, and has a new, higher revision: a copy of an
original that an aggregator has, or gets later, changes nothing. The node's rows keep their slots, and take over
what the evening out moved from slot to slot, so that each slot still adds up to the microjoule.
"""

from __future__ import annotations

from ..attribution.split import apportion
from ..lean import jsontext
from ..lean.named import TYPE_CHECKING, NamedTuple
from ..units import SLOT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

LEDGER, JOB, NODE, DROPPED = "ledger", "job_slot", "node_slot", "dropped"
KINDS = (LEDGER, JOB, NODE, DROPPED)
FOREIGN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What a line that no collector wrote may raise, wherever it is looked into."""
HOUR, DAY = 4, 96
"""Lengths of time in slots. A merged row does not cross the border of a UTC day."""
ADDED = ("alloc_us", "cpu_us")
SHARE_ADDED = ("energy_uj", "static_uj", "metered_us")
OWN = ("revision", "slot", "slots", *ADDED)
"""Fields in which rows may differ that are merged; all others are the same, what nobody here knows of included."""


class Line(NamedTuple):
    """A record as it stands in a segment, and what it speaks of; `slots` is 0 where it is not of a slot."""

    data: bytes
    kind: str
    key: tuple[int, str]
    slot: int
    slots: int
    revision: int

    @property
    def end(self) -> int:
        """End of its last slot."""
        return self.slot + self.slots * SLOT_S


class Loss(NamedTuple):
    """Records that were dropped, and what the node's meters had counted in their slots, [since, until)."""

    rows: int
    since: int
    until: int
    energy_uj: dict[str, int]

    def plus(self, other: Loss) -> Loss:
        """Both together."""
        names = {**self.energy_uj, **other.energy_uj}
        energy_uj = {name: self.energy_uj.get(name, 0) + other.energy_uj.get(name, 0) for name in names}
        since, until = min(self.since, other.since), max(self.until, other.until)
        return Loss(self.rows + other.rows, since, until, energy_uj)

    def line(self, revision: int) -> Line:
        """As docs/record-format.md says."""
        return written({"type": DROPPED, "revision": revision, **self._asdict()})


def read(data: bytes) -> Line:
    """One line of a segment. Raises what FOREIGN has for what is no record."""
    record = jsontext.loads(data)
    slots = record.get("slots", 1) if "slot" in record else 0
    key = (record.get("job_id", 0), record.get("run", ""))
    line = Line(data, record["type"], key, record.get("slot", 0), slots, record["revision"])
    hash(line.key)
    hash(line.kind)
    if any(type(number) is not int for number in line[3:]) or slots < ("slot" in record):
        raise ValueError("slot, slots or revision is no such number")
    return line


def written(record: dict[str, Any]) -> Line:
    """A record that is new."""
    return read(jsontext.dumps(record).encode())


def live(lines: list[Line]) -> list[Line]:
    """Less what a later revision among them supersedes, by itself, in all its slots."""
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
    """Make one row of each job's rows in a stretch of `width` slots, as far as they follow each other and are alike.

    `is_final`: whether these lines have all that any segment says, or will say, of the slots of that one.
    """
    node = {line.slot: line for line in lines if line.kind == NODE and is_final(line)}
    known = {slot: _known(jsontext.loads(line.data)) for slot, line in node.items()}
    jobs: dict[tuple[int, str], list[Line]] = {}
    for line in lines:
        if line.kind == JOB and is_final(line):
            jobs.setdefault(line.key, []).append(line)
    moved: dict[int, dict[str, int]] = {}
    gone: set[bytes] = set()
    new: list[Line] = []
    for rows in jobs.values():
        for stretch in _stretches(sorted(rows, key=lambda row: row.slot), width, known):
            merged = _merged([jsontext.loads(row.data) for row in stretch], revision, stretch)
            gone.update(row.data for row in stretch)
            new.append(written(merged))
            _move(moved, merged, stretch)
    shifted = {slot: moves for slot, moves in moved.items() if any(moves.values())}
    adjusted = [_adjusted(jsontext.loads(node[slot].data), moves, revision) for slot, moves in shifted.items()]
    gone.update(node[slot].data for slot in shifted)
    return [line for line in lines if line.data not in gone] + new + adjusted


def _known(record: dict[str, Any]) -> set[str]:
    """Components with an energy."""
    return {name for name, share in record["components"].items() if share["energy_uj"] is not None}


def _stretches(rows: list[Line], width: int, known: dict[int, set[str]]) -> Iterator[list[Line]]:
    """Rows of a job, in order of time, in groups of two and more that can be one row."""
    stretch: list[Line] = []
    alike = None
    for row in rows:
        record = jsontext.loads(row.data)
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
    """All that must be the same in rows that are merged."""
    shares = {name: [_rest(share, (*SHARE_ADDED, "reason")), _unknown(share)] for name, share in _shares(record)}
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
    """The first record with the sums of all; what is unknown is so in all of them."""
    sums = {name: sum(r[name] for r in records) for name in names if records[0].get(name) is not None}
    reasons = [r["reason"] for r in records if r.get("reason")]
    return {**records[0], **sums, **({"reason": reasons[0]} if reasons else {})}


def _move(moved: dict[int, dict[str, int]], merged: dict[str, Any], stretch: list[Line]) -> None:
    """Note by slot and component what each slot of the merged row has more than the rows it is made of."""
    for sign, record in ((1, merged), *((-1, jsontext.loads(row.data)) for row in stretch)):
        slots = record.get("slots", 1)
        for name, share in _shares(record):
            for i, energy_uj in enumerate(apportion(share["energy_uj"] or 0, [1] * slots)):
                moves = moved.setdefault(record["slot"] + i * SLOT_S, {})
                moves[name] = moves.get(name, 0) + sign * energy_uj


def _adjusted(record: dict[str, Any], moves: dict[str, int], revision: int) -> Line:
    """The node's row with what its jobs' rows now say of the slot."""
    for name, moved_uj in moves.items():
        if moved_uj:
            record["components"][name]["energy_uj"] += moved_uj
    return written({**record, "revision": revision})


def drop(lines: list[Line], until: int) -> tuple[list[Line], Loss]:
    """Give up all rows of slots before `until`, which no row crosses, and the ledgers that closed before it."""
    kept: list[Line] = []
    loss = Loss(0, until, until, {})
    for line in lines:
        if not _is_before(line, until):
            kept.append(line)
            continue
        known = _shares(jsontext.loads(line.data)) if line.kind == NODE else []
        energy_uj = {name: share["energy_uj"] for name, share in known if share["energy_uj"] is not None}
        loss = loss.plus(Loss(1, line.slot if line.slots else until, until, energy_uj))
    return kept, loss


def _is_before(line: Line, until: int) -> bool:
    if line.kind == LEDGER:
        closed = jsontext.loads(line.data)["closed"]
        return closed is not None and closed < until
    return line.kind in (JOB, NODE) and line.end <= until
