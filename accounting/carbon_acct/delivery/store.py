# SPDX-License-Identifier: MIT
"""Stores segments in one transaction. Storing them again, or in any order, gives the same database.

A record replaces a stored one with the same key only if its revision is higher. The sums of jobs that the segments
change are recomputed in the same transaction, so an acknowledged segment is completely accounted. A batch of segments
takes few more statements than one segment: records of one kind are queried and written together.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.db import meta
from carbon_acct.db.clusters import cluster_named
from carbon_acct.db.models import Dropped, Ledger, Node, Segment
from carbon_acct.db.row_types import StoredLedgerRow
from carbon_acct.db.rows import IDS, ask, ask_ids, chunks, insert_rows, put_rows, table_of
from carbon_acct.delivery import ceilings, late
from carbon_acct.delivery.ceilings import LedgerKey
from carbon_acct.delivery.records import DroppedRecord, JobSlotRecord, LedgerRecord, NodeSlotRecord
from carbon_acct.delivery.segment import PRUNED, ParsedSegment, Refusal, RefusedLine
from carbon_acct.delivery.slot_rows import Line, store_job_slots, store_node_slots
from carbon_acct.errors import RefusedError
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.slurm.matching import match
from carbon_acct.sums import settle, site_slot
from carbon_acct.sums.settle import update_runs
from carbon_collector.meters.base import COMPONENTS


class _Records(NamedTuple):
    """The records of segments by kind, each with its key: a run on a node, or the node's id and the stream."""

    ledgers: list[tuple[LedgerKey, LedgerRecord, Line]]
    job_slots: list[tuple[LedgerKey, JobSlotRecord, Line]]
    node_slots: list[tuple[int, str, NodeSlotRecord, Line]]
    dropped: list[tuple[int, str, DroppedRecord]]


@dataclass(frozen=True)
class Receipt:
    """The answer to a segment: its name, the number of records that were taken, and the refused lines."""

    segment: str
    accepted: int
    refused: list[RefusedLine]


def store_segment(session: Session, segment: ParsedSegment, terms: SiteTerms, now: int) -> Receipt:
    """Store a segment and return its receipt. Raises RefusedError 422 if its name was used for another content, or too
    many rows are old.
    """
    (answer,) = store_segments(session, [segment], terms, now)
    if isinstance(answer, RefusedError):
        raise answer
    return answer


def store_segments(
    session: Session, segments: Sequence[ParsedSegment], terms: SiteTerms, now: int
) -> list[Receipt | RefusedError]:
    """Store segments of any nodes and return the answer to each: a receipt, or why it is refused as a whole."""
    answers, new = _answers(session, segments)
    by_cluster: dict[str, list[ParsedSegment]] = defaultdict(list)
    for segment in new:
        by_cluster[segment.header.cluster].append(segment)
    refused: dict[str, tuple[RefusedLine, ...]] = {}
    for name, part in sorted(by_cluster.items()):
        refused |= _store(session, cluster_named(session, name).id, part, terms, now)
    return [_less(answer, refused) for answer in answers]


def _less(answer: Receipt | RefusedError, refused: Mapping[str, tuple[RefusedLine, ...]]) -> Receipt | RefusedError:
    """Return the answer to a segment of which lines were refused while it was stored."""
    if isinstance(answer, RefusedError) or answer.segment not in refused:
        return answer
    lines = refused[answer.segment]
    return Receipt(answer.segment, answer.accepted - len(lines), sorted([*answer.refused, *lines], key=_number))


def _number(line: RefusedLine) -> int:
    return line.line


def _store(
    session: Session, cluster_id: int, segments: Sequence[ParsedSegment], terms: SiteTerms, now: int
) -> dict[str, tuple[RefusedLine, ...]]:
    """Store segments, and return the refused lines by the segments' names."""
    nodes = _nodes(session, cluster_id, {segment.header.node for segment in segments})
    records = _by_kind(nodes, segments)
    ledgers, by_run, to_match = _store_ledgers(session, cluster_id, records)
    crowded = {line for key, _, line in (*records.ledgers, *records.job_slots) if key not in ledgers}
    kept = [one for one in records.job_slots if one[0] in ledgers]
    fresh, job_changes, added, gone = store_job_slots(session, ledgers, kept)
    node_changes, too_much = store_node_slots(session, records.node_slots)
    late.note(session, added, terms.days, now)
    reasons = dict.fromkeys(gone | too_much, ceilings.TOO_MUCH) | dict.fromkeys(crowded, ceilings.TOO_MANY)
    segments, refused = _without(segments, reasons)
    for dropped in records.dropped:
        _store_dropped(session, *dropped)
    insert_rows(session, table_of(Segment), [_segment(nodes[s.header.node], s, now) for s in segments if not s.is_part])
    pairs = settle.rematch(session, cluster_id, to_match)
    # A ledger that has just found another run: its slots are in `pairs`, those of both runs.
    matched = {row.id: row.matched_id for row in ledgers.values() if row.matched_id is not None}
    pairs |= {(matched[ledger], slot) for ledger, slots in fresh.items() if ledger in matched for slot in slots}
    cache = settle.TransactionCache(fresh, None if to_match else by_run)
    update_runs(session, {job for job, _ in pairs} | set(matched.values()), pairs, terms, cache)
    site_slot.change(session, cluster_id, node_changes, job_changes)
    return refused


def _without(
    segments: Sequence[ParsedSegment], gone: Mapping[Line, Refusal]
) -> tuple[list[ParsedSegment], dict[str, tuple[RefusedLine, ...]]]:
    """Return the segments as their receipts are stored, and the lines that were refused now, by the segments' names."""
    by_segment: dict[int, list[RefusedLine]] = defaultdict(list)
    for (at, number), reason in sorted(gone.items()):
        by_segment[at].append(RefusedLine(number, *reason))
    kept = list(segments)
    for at, lines in by_segment.items():
        refused = tuple(sorted([*segments[at].refused, *lines], key=_number))
        kept[at] = replace(segments[at], refused=refused, accepted=segments[at].accepted - len(lines))
    return kept, {segments[at].header.name: tuple(lines) for at, lines in by_segment.items()}


def _by_kind(nodes: Mapping[str, int], segments: Sequence[ParsedSegment]) -> _Records:
    records = _Records([], [], [], [])
    for at, segment in enumerate(segments):
        node, stream = nodes[segment.header.node], segment.header.stream
        for number, record in zip(segment.lines, segment.records, strict=True):
            if isinstance(record, JobSlotRecord):
                records.job_slots.append(((node, stream, record.job_id, record.run), record, (at, number)))
            elif isinstance(record, NodeSlotRecord):
                records.node_slots.append((node, stream, record, (at, number)))
            elif isinstance(record, LedgerRecord):
                records.ledgers.append(((node, stream, record.job_id, record.run), record, (at, number)))
            else:
                records.dropped.append((node, stream, record))
    return records


def _answers(
    session: Session, segments: Sequence[ParsedSegment]
) -> tuple[list[Receipt | RefusedError], list[ParsedSegment]]:
    """Return the answer to each segment, and the segments to store. A name is unique for ever, and pruned slots are
    refused.
    """
    known: dict[str, Any] = {}
    for names in chunks({segment.header.name for segment in segments}):
        known |= {row.name: row for row in ask(session, _KNOWN_SEGMENTS, {"names": names})}
    answers: list[Receipt | RefusedError] = []
    new: dict[str, ParsedSegment] = {}
    parts: list[ParsedSegment] = []
    since = meta.delivered_from(session)
    for segment in segments:
        name = segment.header.name
        if segment.is_part:
            parts.append(segment)
            answers.append(Receipt(name, 0, []))
            continue
        before = known.get(name) or new.get(name)
        if before is not None and before.sha256 != segment.sha256:
            answers.append(RefusedError(422, f"segment {name} was received before with another content"))
        elif name in known:
            refused = _refused_before(known[name].refused, segment)
            answers.append(Receipt(name, known[name].accepted, refused))
        else:
            try:
                kept = new.get(name) or segment.kept(since)
            except RefusedError as err:
                answers.append(err)
            else:
                new[name] = kept
                answers.append(Receipt(name, kept.accepted, list(kept.refused)))
    return answers, [*parts, *new.values()]


def delivered_before(session: Session, segment: ParsedSegment) -> bool:
    """Return whether a segment of this name was stored, whatever its content was."""
    return bool(ask(session, _KNOWN_SEGMENTS, {"names": [segment.header.name]}))


def _refused_before(stored: str, segment: ParsedSegment) -> list[RefusedLine]:
    """Return the refused lines of a segment that was stored before, with the reasons that were given then.

    The kind is not stored. It is the one for which the line is refused now; a line that is not, was refused when it was
    stored, for one of these reasons.
    """
    kinds = {line.line: line.kind for line in segment.refused}
    later = {refusal.reason: refusal.kind for refusal in (PRUNED, ceilings.TOO_MUCH, ceilings.TOO_MANY)}
    return [
        RefusedLine(it["line"], kinds.get(it["line"], later.get(it["reason"], PRUNED.kind)), it["reason"])
        for it in json.loads(stored)
    ]


_KNOWN_SEGMENTS = select(Segment.name, Segment.sha256, Segment.accepted, Segment.refused).where(
    Segment.name.in_(bindparam("names", expanding=True))
)


def _segment(node_id: int, segment: ParsedSegment, now: int) -> dict[str, Any]:
    return {
        "name": segment.header.name,
        "node_id": node_id,
        "sha256": segment.sha256,
        "received": now,
        "accepted": segment.accepted,
        "refused": json.dumps([{"line": r.line, "reason": r.reason} for r in segment.refused]),
    }


def _nodes(session: Session, cluster_id: int, names: Collection[str]) -> dict[str, int]:
    """Return the ids of nodes by name, and lock their rows: the segments of a node are stored one after the other."""
    known: dict[str, int] = {}
    for part in chunks(sorted(names)):
        found = ask(session, _KNOWN_NODES, {"cluster": cluster_id, "names": part})
        known |= {row.name: row.id for row in found}
    for name in sorted(set(names) - known.keys()):
        node = Node(cluster_id=cluster_id, name=name)
        session.add(node)
        session.flush()
        known[name] = node.id
    return known


_KNOWN_NODES = (
    select(Node.name, Node.id)
    .where(Node.cluster_id == bindparam("cluster"), Node.name.in_(bindparam("names", expanding=True)))
    .order_by(Node.id)
    .with_for_update()
)


def _store_ledgers(
    session: Session, cluster_id: int, records: _Records
) -> tuple[dict[LedgerKey, StoredLedgerRow], dict[int, list[StoredLedgerRow]], set[int]]:
    """Store the ledgers that the segments name. Return them, all ledgers of their runs, and the JobIDs whose ledgers
    must be matched.

    A ledger whose own record has not arrived is stored with revision 0. New ledgers are matched to their runs here.
    Those that a node has too many of are left out.
    """
    opened: dict[LedgerKey, int] = {}
    newest: dict[LedgerKey, LedgerRecord] = {}
    for key, slot, _ in records.job_slots:
        opened.setdefault(key, slot.opened)
    for key, record, _ in records.ledgers:
        opened.setdefault(key, record.opened)
        if key not in newest or record.revision > newest[key].revision:
            newest[key] = record
    known = _known_ledgers(session, cluster_id, {key[2] for key in opened})
    for key in ceilings.too_many(known, opened):
        del opened[key]
        newest.pop(key, None)
    new: dict[LedgerKey, dict[str, Any]] = {}
    for key in opened.keys() - known.keys():
        values = _ledger_values(newest[key]) if key in newest else UNKNOWN_LEDGER | {"opened": opened[key]}
        new[key] = _key_values(cluster_id, key) | values
    changed: list[dict[str, Any]] = []
    to_match = {row.job_id for key, row in known.items() if row.matched_id is None and key in opened}
    for key in newest.keys() & known.keys():
        record, stored = newest[key], known[key]
        if record.revision > stored.revision:
            changed.append({"id": stored.id, **_key_values(cluster_id, key), **_ledger_values(record)})
            if record.opened != stored.opened:
                to_match.add(record.job_id)
    put_rows(session, table_of(Ledger), changed)
    _match(session, cluster_id, new.values())
    insert_rows(session, table_of(Ledger), list(new.values()))
    known |= _known_ledgers(session, cluster_id, {row["job_id"] for row in (*new.values(), *changed)})
    by_run: dict[int, list[StoredLedgerRow]] = defaultdict(list)
    for row in known.values():
        if row.matched_id is not None:
            by_run[row.matched_id].append(row)
    return {key: known[key] for key in opened}, by_run, to_match


def _match(session: Session, cluster_id: int, ledgers: Collection[dict[str, Any]]) -> None:
    """Match new ledgers to their runs, as settle.rematch does for stored ones."""
    since = meta.delivered_from(session)
    runs = settle.runs_of(session, cluster_id, {row["job_id"] for row in ledgers})
    for row in ledgers:
        run = match(row["run"], row["opened"], runs[row["job_id"]]) if row["opened"] >= since else None
        row["matched_id"] = run.key if run else None


UNKNOWN_LEDGER: dict[str, Any] = {"revision": 0, "gpus": None} | dict.fromkeys(
    ("closed", "uid", "user", "account", "partition", "restart_count", "het_job_id", "cpus", "node_cpus", "source")
)


def _key_values(cluster_id: int, key: LedgerKey) -> dict[str, Any]:
    node, stream, job_id, run = key
    return {"cluster_id": cluster_id, "node_id": node, "stream": stream, "job_id": job_id, "run": run}


def _ledger_values(record: LedgerRecord) -> dict[str, Any]:
    return record.model_dump(exclude={"type", "gpus"}) | {"gpus": json.dumps(record.gpus)}


def _known_ledgers(session: Session, cluster_id: int, job_ids: Collection[int]) -> dict[LedgerKey, StoredLedgerRow]:
    """Return all ledgers of these JobIDs by key."""
    rows = ask_ids(session, _KNOWN_LEDGERS, job_ids, cluster=cluster_id)
    return {(row[0], row[1], row[2], row[3]): row for row in rows}


_KNOWN_LEDGERS = (
    select(Ledger.node_id, Ledger.stream, Ledger.job_id, Ledger.run, Ledger.revision, *settle.LEDGER)
    .join(Node, Node.id == Ledger.node_id)
    .where(Ledger.cluster_id == bindparam("cluster"), Ledger.job_id.in_(IDS))
)


def _store_dropped(session: Session, node: int, stream: str, row: DroppedRecord) -> None:
    stored = session.get(Dropped, (node, stream))
    if stored is None:
        stored = Dropped(node_id=node, stream=stream, revision=0)
        session.add(stored)
    if row.revision > stored.revision:
        stored.revision, stored.records, stored.start, stored.end = row.revision, row.rows, row.since, row.until
        for name in COMPONENTS:
            setattr(stored, f"{name}_uj", row.energy_uj.get(name))  # type: ignore[call-overload] # one of COMPONENTS
    session.flush()
