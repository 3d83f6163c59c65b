# SPDX-License-Identifier: MIT
"""Takes a node's segment into the database: one transaction, harmless if repeated, in any order.

A record replaces a stored one with the same key only if its revision is higher. What a segment changes
in the jobs' sums is recomputed in the same transaction, so an acknowledged segment is wholly accounted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from carbon_acct import merge, sitesum
from carbon_acct.db.models import COMPONENTS, Cluster, Dropped, Ledger, Node, NodeJobSlot, NodeSlot, Segment
from carbon_acct.db.rows import replace_rows, table_of
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
    ledgers, unsure = _store_ledgers(session, node, segment)
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
    pairs = merge.rematch(session, node.cluster_id, unsure)
    pairs |= merge.matched_pairs(session, touched)
    matched = {row.matched_id for row in ledgers.values() if row.matched_id is not None}
    merge.settle(session, {job for job, _ in pairs} | matched, pairs, prices)
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


class _Stored(NamedTuple):
    """What is to be known of a ledger that is stored."""

    id: int
    job_id: int
    run: str
    revision: int
    opened: int
    matched_id: int | None


def _store_ledgers(session: Session, node: Node, segment: ParsedSegment) -> tuple[dict[LedgerKey, _Stored], set[int]]:
    """Every ledger that the segment speaks of, and the JobIDs of those that have to find their run (again).

    One whose own record has not come yet is opened at revision 0.
    """
    records = [r for r in segment.records if isinstance(r, LedgerRecord)]
    slots = [r for r in segment.records if isinstance(r, JobSlotRecord)]
    job_ids = {r.job_id for r in slots} | {r.job_id for r in records}
    where = {"node": node.id, "stream": segment.header.stream}
    known = _known_ledgers(session, where, job_ids)
    new = {
        (r.job_id, r.run): {"cluster_id": node.cluster_id, "node_id": node.id, "stream": segment.header.stream}
        | {**UNKNOWN_LEDGER, "job_id": r.job_id, "run": r.run, "opened": r.opened}
        for r in slots
        if (r.job_id, r.run) not in known
    }
    changed = []
    for record in records:
        key = (record.job_id, record.run)
        values = record.model_dump(exclude={"type", "gpus"}) | {"gpus": json.dumps(record.gpus)}
        if key not in known:
            new[key] = {"cluster_id": node.cluster_id, "node_id": node.id, "stream": where["stream"], **values}
        elif record.revision > known[key].revision:
            changed.append({"b_id": known[key].id, **values})
    unsure = {job_id for job_id, _ in new} | {row.job_id for row in known.values() if row.matched_id is None}
    unsure |= {row["job_id"] for row in changed if row["opened"] != known[row["job_id"], row["run"]].opened}
    if changed:
        session.execute(update(table_of(Ledger)).where(Ledger.id == bindparam("b_id")), changed)
    if new:
        session.execute(insert(table_of(Ledger)), list(new.values()))
        known |= _known_ledgers(session, where, {job_id for job_id, _ in new})
    return known, unsure


UNKNOWN_LEDGER: dict[str, Any] = {"revision": 0, "gpus": None} | dict.fromkeys(
    ("closed", "uid", "user", "account", "partition", "restart_count", "het_job_id", "cpus", "node_cpus", "source")
)


def _known_ledgers(session: Session, where: dict[str, Any], job_ids: set[int]) -> dict[LedgerKey, _Stored]:
    rows = (
        _Stored(*row)
        for part in merge.chunks(job_ids)
        for row in session.execute(_KNOWN_LEDGERS, {**where, "ids": part})
    )
    return {(row.job_id, row.run): row for row in rows}


_KNOWN_LEDGERS = select(Ledger.id, Ledger.job_id, Ledger.run, Ledger.revision, Ledger.opened, Ledger.matched_id).where(
    Ledger.node_id == bindparam("node"),
    Ledger.stream == bindparam("stream"),
    Ledger.job_id.in_(bindparam("ids", expanding=True)),
)


def _store_job_slots(
    session: Session, ledgers: dict[LedgerKey, _Stored], segment: ParsedSegment
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
    replace_rows(session, table_of(NodeJobSlot), list(newer.values()), stored)
    return set(newer), _changes(stored, newer)


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
    stored: dict[tuple[int, str, int], Mapping[str, Any]] = {
        (node.id, stream, row["slot"]): dict(row) for row in session.execute(query).mappings()
    }
    newer = {}
    for row in rows:
        key = (node.id, stream, row.slot)
        if key not in stored or row.revision > stored[key]["revision"]:
            newer[key] = _node_slot_values(node.id, stream, row)
    replace_rows(session, table_of(NodeSlot), list(newer.values()), stored)
    return _changes(stored, newer)


def _changes(stored: Mapping[Any, Mapping[str, Any]], newer: Mapping[Any, dict[str, Any]]) -> list[Change]:
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
