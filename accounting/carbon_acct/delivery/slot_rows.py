# SPDX-License-Identifier: MIT
"""Stores the rows of slots that segments bring: those of jobs on a node, and those of the node.

A row replaces a stored one with the same key only if its revision is higher. A row with which its node would have more
in a slot than any node is refused by its line.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import NodeJobSlot, NodeSlot
from carbon_acct.db.row_types import StoredLedgerRow
from carbon_acct.db.rows import IDS, ask_dicts, put_rows, table_of
from carbon_acct.delivery import ceilings
from carbon_acct.delivery.ceilings import Addition, LedgerKey
from carbon_acct.delivery.records import JobSlotRecord, NodeSlotRecord
from carbon_acct.sums import minutes, site_slot
from carbon_acct.sums.site_slot import Change
from carbon_collector.meters.base import COMPONENTS

log = logging.getLogger("carbon_acct.delivery")

Line = tuple[int, int]
"""Which of the segments, and the number of the line in it."""


def store_job_slots(
    session: Session,
    ledgers: Mapping[LedgerKey, StoredLedgerRow],
    records: Sequence[tuple[LedgerKey, JobSlotRecord, Line]],
) -> tuple[dict[int, dict[int, dict[str, Any]]], list[Change], list[Addition], set[Line]]:
    """Store the newer rows. Return them by ledger and slot, the rows that were replaced and added, and the refused
    lines.
    """
    rows: dict[tuple[int, int], tuple[JobSlotRecord, Line]] = {}
    ids = {key: row.id for key, row in ledgers.items()}
    node_of = {row.id: key[0] for key, row in ledgers.items()}
    for run, row, line in records:
        key = (ids[run], row.slot)
        if key not in rows or row.revision > rows[key][0].revision:
            rows[key] = row, line
    slots = [slot for _, slot in rows]
    between = {"low": min(slots, default=0), "high": max(slots, default=0)}
    asked = ask_dicts(session, _KNOWN_JOB_SLOTS, {ledger for ledger, _ in rows}, **between)
    stored = {(row["ledger_id"], row["slot"]): row for row in asked}
    newer = {
        key: _job_slot_values(key[0], row)
        for key, (row, _) in rows.items()
        if key not in stored or row.revision > stored[key]["revision"]
    }
    added = [Addition(rows[key][1], node_of[key[0]], key[1], row, stored.get(key)) for key, row in newer.items()]
    gone = ceilings.over_ceiling(added, ceilings.node_totals(session, added))
    newer = {key: row for key, row in newer.items() if rows[key][1] not in gone}
    added = [one for one in added if one.line not in gone]
    put_rows(session, table_of(NodeJobSlot), list(newer.values()))
    ceilings.add(session, added)
    fresh: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
    for (ledger, slot), values in newer.items():
        fresh[ledger][slot] = values
    return fresh, _changes(stored, newer), added, gone


_KNOWN_JOB_SLOTS = select(
    *(NodeJobSlot.ledger_id, NodeJobSlot.revision, NodeJobSlot.cpu_us),
    *(getattr(NodeJobSlot, name) for name in site_slot.JOB_COLUMNS),
).where(
    NodeJobSlot.ledger_id.in_(IDS),
    NodeJobSlot.slot.between(bindparam("low"), bindparam("high")),
)


def store_node_slots(
    session: Session, records: Sequence[tuple[int, str, NodeSlotRecord, Line]]
) -> tuple[list[Change], set[Line]]:
    """Store the newer rows. Return the rows that were replaced and added, and the refused lines."""
    rows: dict[tuple[int, str, int], tuple[NodeSlotRecord, Line]] = {}
    for node, stream, row, line in records:
        key = (node, stream, row.slot)
        if key not in rows or row.revision > rows[key][0].revision:
            rows[key] = row, line
    slots = [slot for _, _, slot in rows]
    between = {"low": min(slots, default=0), "high": max(slots, default=0)}
    asked = ask_dicts(session, _KNOWN_NODE_SLOTS, {node for node, _, _ in rows}, **between)
    stored = {(row["node_id"], row["stream"], row["slot"]): row for row in asked}
    newer = {
        key: _node_slot_values(*key[:2], row)
        for key, (row, _) in rows.items()
        if key not in stored or row.revision > stored[key]["revision"]
    }
    totals: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: dict.fromkeys(ceilings.MOST, 0))
    for (node, _, slot), before in stored.items():
        for name in ceilings.CEILINGS:
            totals[node, slot][name] += before[name] or 0
    added = [Addition(rows[key][1], key[0], key[2], row, stored.get(key)) for key, row in newer.items()]
    gone = ceilings.over_ceiling(added, totals)
    newer = {key: row for key, row in newer.items() if rows[key][1] not in gone}
    put_rows(session, table_of(NodeSlot), list(newer.values()))
    return _changes(stored, newer), gone


_KNOWN_NODE_SLOTS = select(
    *(NodeSlot.node_id, NodeSlot.stream, NodeSlot.revision),
    *(getattr(NodeSlot, name) for name in site_slot.NODE_COLUMNS),
).where(
    NodeSlot.node_id.in_(IDS),
    NodeSlot.slot.between(bindparam("low"), bindparam("high")),
)


def _changes(stored: Mapping[Any, Mapping[str, Any]], newer: Mapping[Any, dict[str, Any]]) -> list[Change]:
    return [*((stored[key], -1) for key in newer if key in stored), *((row, 1) for row in newer.values())]


def _job_slot_values(ledger_id: int, row: JobSlotRecord) -> dict[str, Any]:
    values = _NO_JOB_SLOT.copy()
    values["ledger_id"], values["slot"], values["revision"] = ledger_id, row.slot, row.revision
    values["alloc_us"], values["cpu_us"], values["simulated"] = row.alloc_us, row.cpu_us, row.simulated
    for component, share in row.components.items():
        uj, static_uj, metered_us, method, reason = _JOB_SHARE[component]
        values[uj], values[static_uj], values[metered_us] = share.energy_uj, share.static_uj, share.metered_us
        values[method], values[reason] = share.method, share.reason
    values["minutes"], is_wrong = minutes.delivered(row.components)
    if is_wrong:
        where = row.job_id, row.slot
        log.warning("job %d, slot %d: its minutes do not add up to its energy; the row is stored without them", *where)
    return values


def _node_slot_values(node_id: int, stream: str, row: NodeSlotRecord) -> dict[str, Any]:
    values = _NO_NODE_SLOT.copy()
    values["node_id"], values["stream"], values["slot"], values["revision"] = node_id, stream, row.slot, row.revision
    values["elapsed_us"], values["simulated"] = row.elapsed_us, row.simulated
    for component, share in row.components.items():
        uj, idle_uj, system_uj, metered_us, method, reason = _NODE_SHARE[component]
        values[uj], values[idle_uj], values[system_uj] = share.energy_uj, share.idle_uj, share.system_uj
        values[metered_us], values[method], values[reason] = share.metered_us, share.method, share.reason
    return values


_NO_JOB_SLOT: dict[str, Any] = dict.fromkeys(column.name for column in table_of(NodeJobSlot).columns)
_NO_NODE_SLOT: dict[str, Any] = dict.fromkeys(column.name for column in table_of(NodeSlot).columns)
_JOB_SHARE = {c: (f"{c}_uj", f"{c}_static_uj", f"{c}_metered_us", f"{c}_method", f"{c}_reason") for c in COMPONENTS}
_NODE_SHARE = {
    c: (f"{c}_uj", f"{c}_idle_uj", f"{c}_system_uj", f"{c}_metered_us", f"{c}_method", f"{c}_reason")
    for c in COMPONENTS
}
