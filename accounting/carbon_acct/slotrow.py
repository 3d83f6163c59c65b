# SPDX-License-Identifier: MIT
"""One row of job_slot from the rows that the job's nodes delivered for that slot, and its price: pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from carbon_acct.db.models import COMPONENTS, JobSlot
from carbon_acct.db.rows import table_of
from carbon_acct.estimate import Estimate
from carbon_acct.nodetypes import NodeTypes, held_gpus
from carbon_acct.pricing import Price, Priced, priced
from carbon_acct.slotsum import NodeShare, add, notes_of, sum_shares


class Delivered(NamedTuple):
    """A row of node_job_slot by the names of its columns, and its ledger: `node`, the node's name, `cpus`, `node_cpus`, `gpus`."""

    ledger: Any
    row: Mapping[str, Any]


_UNKNOWN: dict[str, Any] = {column.name: None for column in table_of(JobSlot).columns}
_DELIVERED = {c: (f"{c}_uj", f"{c}_static_uj", f"{c}_metered_us", f"{c}_reason") for c in COMPONENTS}
_METHOD = tuple((c, f"{c}_method") for c in COMPONENTS)


def summed(
    key: tuple[int, int], rows: Sequence[Delivered], estimate: Estimate | None, price: Price, node_types: NodeTypes
) -> dict[str, Any]:
    """The row of (job, slot)."""
    values = _UNKNOWN.copy()
    values["job_id"], values["slot"] = key
    values["price_id"] = price.id
    shares = _shares(rows, node_types)
    for c, uj in estimate.uj.items() if estimate else ():
        shares[c].append(NodeShare(uj, None, 0, "modelled", estimate.note if estimate else "", 0))
    _sum_shares(values, shares)
    values["cpu_us"] = add([delivered.row["cpu_us"] for delivered in rows])
    values["simulated"] = any(d.row["simulated"] for d in rows) or bool(estimate and estimate.simulated)
    values["embodied_ug"] = add([_embodied_ug(delivered, node_types) for delivered in rows])
    total = add((values["energy_uj"], values["estimated_uj"]))
    values.update(zip(_PRICED, priced(total, price), strict=True))
    return values


_PRICED = Priced._fields


def _sum_shares(values: dict[str, Any], shares: Mapping[str, Sequence[NodeShare]]) -> None:
    sums = {c: sum_shares(many) for c, many in shares.items()}
    for c, s in sums.items():
        uj, static_uj, metered_us, alloc_us, method = _SUMMED[c]
        values[uj], values[static_uj], values[metered_us] = s.energy_uj, s.static_uj, s.metered_us
        values[alloc_us], values[method] = s.alloc_us, s.method
    values["energy_uj"] = add([s.energy_uj for s in sums.values()])
    values["estimated_uj"] = add([s.modelled_uj for s in sums.values()])
    notes = notes_of(shares)
    values["notes"] = json.dumps(notes) if notes else None


_SUMMED = {c: (f"{c}_uj", f"{c}_static_uj", f"{c}_metered_us", f"{c}_alloc_us", f"{c}_method") for c in COMPONENTS}


def _shares(rows: Sequence[Delivered], node_types: NodeTypes) -> dict[str, list[NodeShare]]:
    """Those of each component that any row has."""
    shares: dict[str, list[NodeShare]] = defaultdict(list)
    for ledger, row in rows:
        for c, name in _METHOD:
            method = row[name]
            if method:
                uj, static_uj, metered_us, reason = _DELIVERED[c]
                share = NodeShare(row[uj], row[static_uj], row[metered_us] or 0, method, row[reason], row["alloc_us"])
                shares[c].append(share)
        kind = node_types.of(ledger.node)
        if kind and kind.overhead and not row["other_method"]:
            shares["other"].append(_overhead(row, kind.overhead))
    return shares


def _overhead(row: Mapping[str, Any], factor: Fraction) -> NodeShare:
    """The rest of a node that no meter sees, by the site's factor over the components: estimated, and it says so."""
    known = add([row[f"{c}_uj"] for c in COMPONENTS])
    return NodeShare(
        energy_uj=None if known is None else round(known * (factor - 1)),
        static_uj=None,
        metered_us=0,
        method="modelled",
        reason=f"the node is taken as {float(factor):g} x its components",
        alloc_us=row["alloc_us"],
    )


def _embodied_ug(delivered: Delivered, node_types: NodeTypes) -> int | None:
    ledger = delivered.ledger
    kind = node_types.of(ledger.node)
    if kind is None or not ledger.cpus or not ledger.node_cpus:
        return None
    part = min(Fraction(ledger.cpus, ledger.node_cpus), Fraction(1))
    return kind.embodied_ug(delivered.row["alloc_us"], part, held_gpus(json.loads(ledger.gpus or "[]")))
