# SPDX-License-Identifier: MIT
"""Takes a node's segment into the database: one transaction, harmless if repeated, in any order.

A record replaces a stored one with the same key only if its revision is higher. What a segment changes
in the jobs' sums is recomputed in the same transaction, so an acknowledged segment is wholly accounted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct import merge, sitesum
from carbon_acct.db.models import COMPONENTS, Cluster, Dropped, Ledger, Node, NodeJobSlot, NodeSlot, Segment
from carbon_acct.errors import RefusedError
from carbon_acct.prices import Prices
from carbon_acct.records import DroppedRecord, JobSlotRecord, LedgerRecord, NodeSlotRecord, ParsedSegment, RefusedLine
from carbon_acct.sitesum import Change

LedgerKey = tuple[int, str]


@dataclass(frozen=True)
class Receipt:
    """The answer to a segment: its name, how many records were taken, and which were not."""

    segment: str
    accepted: int
    refused: list[RefusedLine]


def store(session: Session, segment: ParsedSegment, prices: Prices, now: int) -> Receipt:
    """Store a segment. Raises RefusedError 422 if its name was already used for another content."""
    known = session.get(Segment, segment.header.name)
    if known is not None:
        return _repeat(known, segment)
    node = _node(session, segment)
    ledgers = _store_ledgers(session, node, segment)
    touched, job_changes = _store_job_slots(session, ledgers, segment)
    node_changes = _store_node_slots(session, node, segment)
    _store_dropped(session, node, segment)
    session.add(
        Segment(
            name=segment.header.name,
            node_id=node.id,
            sha256=segment.sha256,
            received=now,
            accepted=segment.accepted,
            refused=json.dumps([asdict(r) for r in segment.refused]),
        )
    )
    session.flush()
    pairs = merge.rematch(session, node.cluster_id, {job_id for job_id, _ in ledgers})
    pairs |= merge.matched_pairs(session, touched)
    merge.resum(session, pairs, prices)
    merge.recount(session, {job for job, _ in pairs} | _jobs_of(ledgers))
    sitesum.change(session, node.cluster_id, node_changes, job_changes)
    return Receipt(segment.header.name, segment.accepted, list(segment.refused))


def cluster_named(session: Session, name: str) -> Cluster:
    """The cluster's row, made where there is none."""
    cluster = session.scalar(select(Cluster).where(Cluster.name == name))
    if cluster is None:
        cluster = Cluster(name=name, polled_until=None)
        session.add(cluster)
        session.flush()
    return cluster


def _repeat(known: Segment, segment: ParsedSegment) -> Receipt:
    if known.sha256 != segment.sha256:
        raise RefusedError(422, f"segment {known.name} was received before with another content")
    return Receipt(known.name, known.accepted, [RefusedLine(**line) for line in json.loads(known.refused)])


def _node(session: Session, segment: ParsedSegment) -> Node:
    cluster = cluster_named(session, segment.header.cluster)
    name = segment.header.node
    query = select(Node).where(Node.cluster_id == cluster.id, Node.name == name)
    node = session.scalar(query.with_for_update())  # its segments are taken one after the other, whoever takes them
    if node is None:
        node = Node(cluster_id=cluster.id, name=name)
        session.add(node)
        session.flush()
    return node


def _store_ledgers(session: Session, node: Node, segment: ParsedSegment) -> dict[LedgerKey, Ledger]:
    """Every ledger that the segment speaks of; one whose own record has not come yet is opened at revision 0."""
    records = [r for r in segment.records if isinstance(r, LedgerRecord)]
    slots = [r for r in segment.records if isinstance(r, JobSlotRecord)]
    rows: list[LedgerRecord | JobSlotRecord] = [*slots, *records]  # a ledger's own record prevails
    known = _known_ledgers(session, node, segment.header.stream, {r.job_id for r in rows})
    wanted = {(r.job_id, r.run): known.get((r.job_id, r.run)) for r in rows}
    for row in rows:
        key = (row.job_id, row.run)
        ledger = wanted[key]
        if ledger is None:
            ledger = _open(session, node, segment.header.stream, row)
            wanted[key] = ledger
        if isinstance(row, LedgerRecord) and row.revision > ledger.revision:
            _replace(ledger, row)
    session.flush()
    return {key: ledger for key, ledger in wanted.items() if ledger is not None}


def _known_ledgers(session: Session, node: Node, stream: str, job_ids: set[int]) -> dict[LedgerKey, Ledger]:
    query = select(Ledger).where(Ledger.node_id == node.id, Ledger.stream == stream)
    return {
        (row.job_id, row.run): row
        for part in merge.chunks(job_ids)
        for row in session.scalars(query.where(Ledger.job_id.in_(part)))
    }


def _open(session: Session, node: Node, stream: str, row: LedgerRecord | JobSlotRecord) -> Ledger:
    ledger = Ledger(
        cluster_id=node.cluster_id,
        node_id=node.id,
        stream=stream,
        job_id=row.job_id,
        run=row.run,
        revision=0,
        opened=row.opened,
    )
    session.add(ledger)
    return ledger


def _replace(ledger: Ledger, row: LedgerRecord) -> None:
    for name, value in row.model_dump(exclude={"type", "job_id", "run", "gpus"}).items():
        setattr(ledger, name, value)
    ledger.gpus = json.dumps(row.gpus)


def _store_job_slots(
    session: Session, ledgers: dict[LedgerKey, Ledger], segment: ParsedSegment
) -> tuple[set[tuple[int, int]], list[Change]]:
    """The (ledger, slot) pairs that changed, and what came and went with them."""
    rows = [r for r in segment.records if isinstance(r, JobSlotRecord)]
    ids = {ledgers[r.job_id, r.run].id for r in rows}
    slots = {r.slot for r in rows}
    stored: dict[tuple[int, int], Mapping[str, Any]] = {}
    columns = (getattr(NodeJobSlot, name) for name in ("ledger_id", "revision", *sitesum.JOB_COLUMNS))
    query = select(*columns)
    for part in merge.chunks(ids):
        between = query.where(NodeJobSlot.ledger_id.in_(part), NodeJobSlot.slot.between(min(slots), max(slots)))
        stored |= {(row["ledger_id"], row["slot"]): dict(row) for row in session.execute(between).mappings()}
    newer = {}
    for row in rows:
        key = (ledgers[row.job_id, row.run].id, row.slot)
        if key not in stored or row.revision > stored[key]["revision"]:
            newer[key] = _job_slot_values(key[0], row)
    return set(newer), _put(session, NodeJobSlot, stored, newer)


def _store_node_slots(session: Session, node: Node, segment: ParsedSegment) -> list[Change]:
    """What came and went."""
    stream = segment.header.stream
    rows = [r for r in segment.records if isinstance(r, NodeSlotRecord)]
    if not rows:
        return []
    slots = {r.slot for r in rows}
    query = select(NodeSlot.revision, *(getattr(NodeSlot, name) for name in sitesum.NODE_COLUMNS)).where(
        NodeSlot.node_id == node.id, NodeSlot.stream == stream, NodeSlot.slot.between(min(slots), max(slots))
    )
    stored: dict[int, Mapping[str, Any]] = {row["slot"]: dict(row) for row in session.execute(query).mappings()}
    newer = {
        row.slot: _node_slot_values(node.id, stream, row)
        for row in rows
        if row.slot not in stored or row.revision > stored[row.slot]["revision"]
    }
    return _put(session, NodeSlot, stored, newer)


K = TypeVar("K")


def _put(
    session: Session, model: Any, stored: Mapping[K, Mapping[str, Any]], newer: Mapping[K, dict[str, Any]]
) -> list[Change]:
    """Insert rows, or replace those that are stored."""
    new = [row for key, row in newer.items() if key not in stored]
    changed = [row for key, row in newer.items() if key in stored]
    if new:
        session.bulk_insert_mappings(model.__mapper__, new)
    if changed:
        session.bulk_update_mappings(model.__mapper__, changed)
    return [*((stored[key], -1) for key in newer if key in stored), *((row, 1) for row in newer.values())]


def _store_dropped(session: Session, node: Node, segment: ParsedSegment) -> None:
    for row in segment.records:
        if not isinstance(row, DroppedRecord):
            continue
        stored = session.get(Dropped, (node.id, segment.header.stream))
        if stored is None:
            stored = Dropped(node_id=node.id, stream=segment.header.stream, revision=0)
            session.add(stored)
        if row.revision > stored.revision:
            stored.revision, stored.records, stored.start, stored.end = row.revision, row.rows, row.since, row.until
            for name in COMPONENTS:
                setattr(stored, f"{name}_uj", row.energy_uj.get(name))  # type: ignore[call-overload] # one of COMPONENTS


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


def _jobs_of(ledgers: dict[LedgerKey, Ledger]) -> set[int]:
    return {ledger.matched_id for ledger in ledgers.values() if ledger.matched_id is not None}
