# SPDX-License-Identifier: MIT
"""Holds a node to what one node can have in one slot, over all of its streams, jobs and segments.

A record alone is held to the ceiling of its metered time (segment.py). That does not bound what many records say together:
a node's root has as many streams as it likes, and sums of 64 bits are full after 49,588 of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import NodeTotal
from carbon_acct.db.rows import IDS, add_rows, ask_dicts, table_of
from carbon_acct.delivery.records import MAX_CPU_US, MAX_SLOT_US
from carbon_acct.delivery.segment import CEILING_GRACE_S, Refusal
from carbon_acct.estimates.arithmetic import CEILING_WATTS
from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import US_PER_S

MAX_JOBS = 10_000
"""Rows of jobs of a node in one slot: eleven jobs a second."""

COLUMNS = ("jobs", "cpu_us", *(f"{c}_uj" for c in COMPONENTS))
CEILINGS = {f"{c}_uj": CEILING_WATTS[c] * (MAX_SLOT_US + CEILING_GRACE_S * US_PER_S) for c in COMPONENTS}
MOST = {"jobs": MAX_JOBS, "cpu_us": 2 * MAX_CPU_US, **CEILINGS}

TOO_MUCH = Refusal("ceiling", "with it the node has more in this slot than any node, over all of its streams")

MAX_LEDGERS = 500
"""The ledgers of a JobID on one node, over all runs and streams. A requeue makes another run, and a node whose spool was
lost another stream. All of them are read whenever anybody delivers for the job.
"""
LedgerKey = tuple[int, str, int, str]
"""A ledger: its node, stream, JobID and run."""

TOO_MANY = Refusal("ceiling", f"with it the node has more than {MAX_LEDGERS} runs and streams of this job")


class Addition(NamedTuple):
    """A row of a node's slot that is to be stored, and the row that it replaces. `line` identifies its line in its
    segment.
    """

    line: Any
    node: int
    slot: int
    now: Mapping[str, Any]
    before: Mapping[str, Any] | None


def too_many(known: Iterable[LedgerKey], wanted: Iterable[LedgerKey]) -> list[LedgerKey]:
    """Return the ledgers that a node may not have besides those that are known of the same jobs. The last are refused."""
    stored = set(known)
    new = [key for key in wanted if key not in stored]
    if not new:
        return []
    many = Counter((node, job_id) for node, _, job_id, _ in stored)
    gone = []
    for key in new:
        node, _, job_id, _ = key
        many[node, job_id] += 1
        if many[node, job_id] > MAX_LEDGERS:
            gone.append(key)
    return gone


def over_ceiling(additions: Sequence[Addition], stored: Mapping[tuple[int, int], Mapping[str, int]]) -> set[Any]:
    """Return the lines whose rows would bring a node above the ceiling in a slot. `stored`: what it has, by node and
    slot.

    Rows are added in the order in which they were delivered, so the last ones are refused.
    """
    totals: dict[tuple[int, int], dict[str, int]] = {}
    gone = set()
    for one in additions:
        key = one.node, one.slot
        total = totals.setdefault(key, dict(stored.get(key) or dict.fromkeys(MOST, 0)))
        change = difference(one)
        if any(change[name] > 0 and total.get(name, 0) + change[name] > MOST[name] for name in change):
            gone.add(one.line)
            continue
        for name, amount in change.items():
            total[name] = total.get(name, 0) + amount
    return gone


def difference(one: Addition) -> dict[str, int]:
    """Return what a row adds to what its node has in the slot."""
    before = one.before or {}
    names = [name for name in MOST if name != "jobs" and name in one.now]
    change = {name: (one.now[name] or 0) - (before.get(name) or 0) for name in names}
    return {"jobs": int(one.before is None), **change}


def node_totals(session: Session, additions: Iterable[Addition]) -> dict[tuple[int, int], dict[str, int]]:
    """Return what the jobs of nodes have in the slots of these rows."""
    keys = {(one.node, one.slot) for one in additions}
    slots = [slot for _, slot in keys]
    between = {"low": min(slots, default=0), "high": max(slots, default=0)}
    rows = ask_dicts(session, _TOTALS, {node for node, _ in keys}, **between)
    return {(row["node_id"], row["slot"]): row for row in rows}


_TOTALS = select(*table_of(NodeTotal).columns).where(
    NodeTotal.node_id.in_(IDS), NodeTotal.slot.between(bindparam("low"), bindparam("high"))
)


def add(session: Session, additions: Iterable[Addition]) -> None:
    """Add rows that were stored to what their nodes have."""
    sums: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    for one in additions:
        into = sums[one.node, one.slot]
        for name, amount in difference(one).items():
            into[name] += amount
    rows = [{"node_id": node, "slot": slot, **values} for (node, slot), values in sums.items()]
    add_rows(session, table_of(NodeTotal), rows)
