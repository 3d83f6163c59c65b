# SPDX-License-Identifier: MIT
"""Takes segments of nodes into the database: one transaction, harmless if repeated, in any order.

A record replaces a stored one with the same key only if its revision is higher. What segments change
in the jobs' sums is recomputed in the same transaction, so an acknowledged segment is wholly accounted.
Many segments take few statements more than one: what they have of a kind is asked for and written together.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct import merge, sitesum
from carbon_acct.db.models import COMPONENTS, Cluster, Dropped, Ledger, Node, NodeJobSlot, NodeSlot, Segment
from carbon_acct.db.rows import ask, insert_rows, put_rows, table_of
from carbon_acct.errors import RefusedError
from carbon_acct.prices import Prices
from carbon_acct.records import DroppedRecord, JobSlotRecord, LedgerRecord, NodeSlotRecord, ParsedSegment, RefusedLine
from carbon_acct.sitesum import Change

LedgerKey = tuple[int, str, int, str]
"""Node, stream, JobID, run."""

Told = tuple[int, ParsedSegment]
"""A segment, and its node's id."""


@dataclass(frozen=True)
class Receipt:
    """The answer to a segment: its name, how many records were taken, and which were not."""

    segment: str
    accepted: int
    refused: list[RefusedLine]


def store(session: Session, segment: ParsedSegment, prices: Prices, now: int) -> Receipt:
    """Store a segment. Raises RefusedError 422 if its name was already used for another content."""
    (answer,) = store_all(session, [segment], prices, now)
    if isinstance(answer, RefusedError):
        raise answer
    return answer


def store_all(
    session: Session, segments: Sequence[ParsedSegment], prices: Prices, now: int
) -> list[Receipt | RefusedError]:
    """Store segments, of any nodes; the answer to each: a receipt, or why it is refused as a whole."""
    answers, new = _answers(session, segments)
    by_cluster: dict[str, list[ParsedSegment]] = defaultdict(list)
    for segment in new:
        by_cluster[segment.header.cluster].append(segment)
    for name, part in sorted(by_cluster.items()):
        _store(session, cluster_named(session, name).id, part, prices, now)
    return answers


def _store(session: Session, cluster_id: int, segments: Sequence[ParsedSegment], prices: Prices, now: int) -> None:
    nodes = _nodes(session, cluster_id, {segment.header.node for segment in segments})
    told = [(nodes[segment.header.node], segment) for segment in segments]
    ledgers, unsure = _store_ledgers(session, cluster_id, told)
    touched, job_changes = _store_job_slots(session, ledgers, told)
    node_changes = _store_node_slots(session, told)
    _store_dropped(session, told)
    insert_rows(session, table_of(Segment), [_segment(node, segment, now) for node, segment in told])
    pairs = merge.rematch(session, cluster_id, unsure)
    # A ledger that has just found another run: its slots are in `pairs`, those of both runs.
    pairs |= {(ledger.matched_id, slot) for ledger, slot in touched if ledger.matched_id is not None}
    matched = {row.matched_id for row in ledgers.values() if row.matched_id is not None}
    merge.settle(session, {job for job, _ in pairs} | matched, pairs, prices)
    sitesum.change(session, cluster_id, node_changes, job_changes)


def cluster_named(session: Session, name: str) -> Cluster:
    """The cluster's row, made where there is none."""
    cluster = session.scalar(select(Cluster).where(Cluster.name == name))
    if cluster is None:
        cluster = Cluster(name=name, polled_until=None)
        session.add(cluster)
        session.flush()
    return cluster


def _answers(
    session: Session, segments: Sequence[ParsedSegment]
) -> tuple[list[Receipt | RefusedError], list[ParsedSegment]]:
    """The answer to each segment, and those that are to be stored: a name is unique for ever."""
    known: dict[str, Any] = {}
    for names in merge.chunks({segment.header.name for segment in segments}):
        known |= {row.name: row for row in ask(session, _KNOWN_SEGMENTS, {"names": names})}
    answers: list[Receipt | RefusedError] = []
    new: dict[str, ParsedSegment] = {}
    for segment in segments:
        name = segment.header.name
        before = known.get(name) or new.get(name)
        if before is None:
            new[name] = segment
        if before is not None and before.sha256 != segment.sha256:
            answers.append(RefusedError(422, f"segment {name} was received before with another content"))
        elif name in known:
            refused = [RefusedLine(**line) for line in json.loads(known[name].refused)]
            answers.append(Receipt(name, known[name].accepted, refused))
        else:
            answers.append(Receipt(name, segment.accepted, list(segment.refused)))
    return answers, list(new.values())


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
        "refused": json.dumps([asdict(r) for r in segment.refused]),
    }


def _nodes(session: Session, cluster_id: int, names: Collection[str]) -> dict[str, int]:
    """Their ids. A node's segments are taken one after the other, whoever takes them."""
    known: dict[str, int] = {}
    for part in merge.chunks(sorted(names)):
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


class _Stored(NamedTuple):
    """What is to be known of a ledger that is stored."""

    node_id: int
    stream: str
    job_id: int
    run: str
    id: int
    revision: int
    opened: int
    matched_id: int | None


def _store_ledgers(
    session: Session, cluster_id: int, told: Sequence[Told]
) -> tuple[dict[LedgerKey, _Stored], set[int]]:
    """Every ledger that the segments speak of, and the JobIDs of those that have to find their run (again).

    One whose own record has not come yet is opened at revision 0.
    """
    opened: dict[LedgerKey, int] = {}
    records: dict[LedgerKey, LedgerRecord] = {}
    for node, segment in told:
        for record in segment.records:
            if isinstance(record, (JobSlotRecord, LedgerRecord)):
                key = (node, segment.header.stream, record.job_id, record.run)
                opened.setdefault(key, record.opened)
                if isinstance(record, LedgerRecord) and (key not in records or record.revision > records[key].revision):
                    records[key] = record
    known = _known_ledgers(session, opened)
    names = [_key_values(cluster_id, key) | UNKNOWN_LEDGER | {"opened": at} for key, at in opened.items()]
    new = {key: row for key, row in zip(opened, names, strict=True) if key not in known}
    changed: list[dict[str, Any]] = []
    unsure = {key[2] for key in new} | {row.job_id for row in known.values() if row.matched_id is None}
    for key, record in records.items():
        values = _key_values(cluster_id, key) | _ledger_values(record)
        if key not in known:
            new[key] = values
        elif record.revision > known[key].revision:
            changed.append({"id": known[key].id, **values})
            if record.opened != known[key].opened:
                unsure.add(record.job_id)
    put_rows(session, table_of(Ledger), changed)
    insert_rows(session, table_of(Ledger), list(new.values()))
    return known | _known_ledgers(session, new), unsure


UNKNOWN_LEDGER: dict[str, Any] = {"revision": 0, "gpus": None} | dict.fromkeys(
    ("closed", "uid", "user", "account", "partition", "restart_count", "het_job_id", "cpus", "node_cpus", "source")
)


def _key_values(cluster_id: int, key: LedgerKey) -> dict[str, Any]:
    node, stream, job_id, run = key
    return {"cluster_id": cluster_id, "node_id": node, "stream": stream, "job_id": job_id, "run": run}


def _ledger_values(record: LedgerRecord) -> dict[str, Any]:
    return record.model_dump(exclude={"type", "gpus"}) | {"gpus": json.dumps(record.gpus)}


def _known_ledgers(session: Session, keys: Collection[LedgerKey]) -> dict[LedgerKey, _Stored]:
    """Those of `keys` that are stored."""
    found: dict[LedgerKey, _Stored] = {}
    nodes = sorted({key[0] for key in keys})
    for part in merge.chunks({key[2] for key in keys}):
        for row in ask(session, _KNOWN_LEDGERS, {"nodes": nodes, "ids": part}):
            stored = _Stored(*row)
            if stored[:4] in keys:
                found[stored[:4]] = stored
    return found


_KNOWN_LEDGERS = select(
    *(Ledger.node_id, Ledger.stream, Ledger.job_id, Ledger.run),
    *(Ledger.id, Ledger.revision, Ledger.opened, Ledger.matched_id),
).where(
    Ledger.node_id.in_(bindparam("nodes", expanding=True)),
    Ledger.job_id.in_(bindparam("ids", expanding=True)),
)


def _store_job_slots(
    session: Session, ledgers: Mapping[LedgerKey, _Stored], told: Sequence[Told]
) -> tuple[list[tuple[_Stored, int]], list[Change]]:
    """The (ledger, slot) pairs that changed, and what came and went with them."""
    by_id = {ledger.id: ledger for ledger in ledgers.values()}
    rows: dict[tuple[int, int], JobSlotRecord] = {}
    for node, segment in told:
        for row in segment.records:
            if isinstance(row, JobSlotRecord):
                key = (ledgers[node, segment.header.stream, row.job_id, row.run].id, row.slot)
                if key not in rows or row.revision > rows[key].revision:
                    rows[key] = row
    stored: dict[tuple[int, int], Mapping[str, Any]] = {}
    slots = {slot for _, slot in rows}
    for part in merge.chunks({ledger for ledger, _ in rows}):
        asked = {"ids": part, "low": min(slots), "high": max(slots)}
        for found in ask(session, _KNOWN_JOB_SLOTS, asked):
            stored[found.ledger_id, found.slot] = found._mapping
    newer = {
        key: _job_slot_values(key[0], row)
        for key, row in rows.items()
        if key not in stored or row.revision > stored[key]["revision"]
    }
    put_rows(session, table_of(NodeJobSlot), list(newer.values()))
    return [(by_id[ledger], slot) for ledger, slot in newer], _changes(stored, newer)


_KNOWN_JOB_SLOTS = select(
    NodeJobSlot.ledger_id, NodeJobSlot.revision, *(getattr(NodeJobSlot, name) for name in sitesum.JOB_COLUMNS)
).where(
    NodeJobSlot.ledger_id.in_(bindparam("ids", expanding=True)),
    NodeJobSlot.slot.between(bindparam("low"), bindparam("high")),
)


def _store_node_slots(session: Session, told: Sequence[Told]) -> list[Change]:
    """What came and went."""
    rows: dict[tuple[int, str, int], NodeSlotRecord] = {}
    for node, segment in told:
        for row in segment.records:
            key = (node, segment.header.stream, row.slot) if isinstance(row, NodeSlotRecord) else None
            if key and isinstance(row, NodeSlotRecord) and (key not in rows or row.revision > rows[key].revision):
                rows[key] = row
    stored: dict[tuple[int, str, int], Mapping[str, Any]] = {}
    slots = {slot for _, _, slot in rows}
    for part in merge.chunks({node for node, _, _ in rows}):
        asked = {"ids": part, "low": min(slots), "high": max(slots)}
        for found in ask(session, _KNOWN_NODE_SLOTS, asked):
            stored[found.node_id, found.stream, found.slot] = found._mapping
    newer = {
        key: _node_slot_values(*key[:2], row)
        for key, row in rows.items()
        if key not in stored or row.revision > stored[key]["revision"]
    }
    put_rows(session, table_of(NodeSlot), list(newer.values()))
    return _changes(stored, newer)


_KNOWN_NODE_SLOTS = select(
    *(NodeSlot.node_id, NodeSlot.stream, NodeSlot.revision),
    *(getattr(NodeSlot, name) for name in sitesum.NODE_COLUMNS),
).where(
    NodeSlot.node_id.in_(bindparam("ids", expanding=True)),
    NodeSlot.slot.between(bindparam("low"), bindparam("high")),
)


def _changes(stored: Mapping[Any, Mapping[str, Any]], newer: Mapping[Any, dict[str, Any]]) -> list[Change]:
    return [*((stored[key], -1) for key in newer if key in stored), *((row, 1) for row in newer.values())]


def _store_dropped(session: Session, told: Sequence[Told]) -> None:
    for node, segment in told:
        for row in segment.records:
            if isinstance(row, DroppedRecord):
                _store_drop(session, node, segment.header.stream, row)


def _store_drop(session: Session, node: int, stream: str, row: DroppedRecord) -> None:
    stored = session.get(Dropped, (node, stream))
    if stored is None:
        stored = Dropped(node_id=node, stream=stream, revision=0)
        session.add(stored)
    if row.revision > stored.revision:
        stored.revision, stored.records, stored.start, stored.end = row.revision, row.rows, row.since, row.until
        for name in COMPONENTS:
            setattr(stored, f"{name}_uj", row.energy_uj.get(name))  # type: ignore[call-overload] # one of COMPONENTS
    session.flush()


def _job_slot_values(ledger_id: int, row: JobSlotRecord) -> dict[str, Any]:
    values: dict[str, Any] = {
        "ledger_id": ledger_id,
        "slot": row.slot,
        "revision": row.revision,
        "alloc_us": row.alloc_us,
        "cpu_us": row.cpu_us,
        "simulated": row.simulated,
    }
    for name in COMPONENTS:
        share = row.components.get(name)  # type: ignore[call-overload]
        values[f"{name}_uj"] = share.energy_uj if share else None
        values[f"{name}_static_uj"] = share.static_uj if share else None
        values[f"{name}_metered_us"] = share.metered_us if share else None
        values[f"{name}_method"] = share.method if share else None
        values[f"{name}_reason"] = share.reason if share else None
    return values


def _node_slot_values(node_id: int, stream: str, row: NodeSlotRecord) -> dict[str, Any]:
    values: dict[str, Any] = {
        "node_id": node_id,
        "stream": stream,
        "slot": row.slot,
        "revision": row.revision,
        "elapsed_us": row.elapsed_us,
        "simulated": row.simulated,
    }
    for name in COMPONENTS:
        share = row.components.get(name)  # type: ignore[call-overload]
        values[f"{name}_uj"] = share.energy_uj if share else None
        values[f"{name}_idle_uj"] = share.idle_uj if share else None
        values[f"{name}_system_uj"] = share.system_uj if share else None
        values[f"{name}_metered_us"] = share.metered_us if share else None
        values[f"{name}_method"] = share.method if share else None
        values[f"{name}_reason"] = share.reason if share else None
    return values
