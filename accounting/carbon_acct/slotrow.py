# SPDX-License-Identifier: MIT
"""One row of job_slot from the rows that the job's nodes delivered for that slot, and its price: pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from carbon_acct.db.models import COMPONENTS
from carbon_acct.estimate import Estimate
from carbon_acct.nodetypes import NodeTypes, held_gpus
from carbon_acct.pricing import Price, priced
from carbon_acct.slotsum import NodeShare, add, notes_of, sum_shares


def summed(
    key: tuple[int, int], rows: Sequence[Any], estimate: Estimate | None, price: Price, node_types: NodeTypes
) -> dict[str, Any]:
    """The row of (job, slot). A delivered row has its ledger's node, CPUs and GPUs besides."""
    values = _sum_rows(rows, estimate, node_types)
    total = add((values["energy_uj"], values["estimated_uj"]))
    return {
        "job_id": key[0],
        "slot": key[1],
        "price_id": price.id,
        **values,
        **vars(priced(total, price)),
        "embodied_ug": add(_embodied_ug(row, node_types) for row in rows),
    }


def _sum_rows(rows: Sequence[Any], estimate: Estimate | None, node_types: NodeTypes) -> dict[str, Any]:
    shares = _shares(rows, node_types)
    for c, uj in estimate.uj.items() if estimate else ():
        shares[c].append(NodeShare(uj, None, 0, "modelled", estimate.note if estimate else "", 0))
    sums = {c: sum_shares(many) for c, many in shares.items() if many}
    values: dict[str, Any] = {
        "cpu_us": add(row.cpu_us for row in rows),
        "simulated": any(row.simulated for row in rows) or bool(estimate and estimate.simulated),
        "energy_uj": add(s.energy_uj for s in sums.values()),
        "estimated_uj": add(s.modelled_uj for s in sums.values()),
        "notes": None,
    }
    notes = notes_of(shares)
    if notes:
        values["notes"] = json.dumps(notes)
    for c in COMPONENTS:
        s = sums.get(c)
        values[f"{c}_uj"] = s.energy_uj if s else None
        values[f"{c}_static_uj"] = s.static_uj if s else None
        values[f"{c}_metered_us"] = s.metered_us if s else None
        values[f"{c}_alloc_us"] = s.alloc_us if s else None
        values[f"{c}_method"] = s.method if s else None
    return values


def _shares(rows: Sequence[Any], node_types: NodeTypes) -> dict[str, list[NodeShare]]:
    shares: dict[str, list[NodeShare]] = {c: [] for c in COMPONENTS}
    for row in rows:
        for c in COMPONENTS:
            if getattr(row, f"{c}_method"):
                shares[c].append(_share(row, c))
        kind = node_types.of(row.node)
        if kind and kind.overhead and not row.other_method:
            shares["other"].append(_overhead(row, kind.overhead))
    return shares


def _share(row: Any, component: str) -> NodeShare:
    return NodeShare(
        energy_uj=getattr(row, f"{component}_uj"),
        static_uj=getattr(row, f"{component}_static_uj"),
        metered_us=getattr(row, f"{component}_metered_us") or 0,
        method=getattr(row, f"{component}_method"),
        reason=getattr(row, f"{component}_reason"),
        alloc_us=row.alloc_us,
    )


def _overhead(row: Any, factor: Fraction) -> NodeShare:
    """The rest of a node that no meter sees, by the site's factor over the components: estimated, and it says so."""
    known = add(getattr(row, f"{c}_uj") for c in COMPONENTS)
    return NodeShare(
        energy_uj=None if known is None else round(known * (factor - 1)),
        static_uj=None,
        metered_us=0,
        method="modelled",
        reason=f"the node is taken as {float(factor):g} x its components",
        alloc_us=row.alloc_us,
    )


def _embodied_ug(row: Any, node_types: NodeTypes) -> int | None:
    kind = node_types.of(row.node)
    if kind is None or not row.cpus or not row.node_cpus:
        return None
    return kind.embodied_ug(
        row.alloc_us, min(Fraction(row.cpus, row.node_cpus), Fraction(1)), held_gpus(json.loads(row.gpus or "[]"))
    )
