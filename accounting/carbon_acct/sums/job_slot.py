# SPDX-License-Identifier: MIT
"""Makes a row of job_slot from the rows that the job's nodes delivered for that slot, and its emission factors. Pure."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

from carbon_acct.db.models import JobSlot
from carbon_acct.db.row_types import LedgerRow
from carbon_acct.db.rows import table_of
from carbon_acct.estimates.arithmetic import Estimate
from carbon_acct.factors.arithmetic import Factors, emissions
from carbon_acct.factors.idle_use import IdleUse
from carbon_acct.factors.node_types import NodeTypes, held_gpus
from carbon_acct.known import sum_known
from carbon_acct.sums import minutes
from carbon_acct.sums.fit import MOST_OF_SLOT
from carbon_acct.sums.job_day import WASTED
from carbon_acct.sums.shares import NodeShare, notes_of, sum_shares
from carbon_acct.sums.waste import held_and_unused
from carbon_collector.meters.base import COMPONENTS


class Delivered(NamedTuple):
    """A row of node_job_slot by its columns, and its ledger."""

    ledger: LedgerRow
    row: Mapping[str, Any]


_UNKNOWN: dict[str, Any] = {column.name: None for column in table_of(JobSlot).columns}
_NAMES = {
    c: (f"{c}_method", f"{c}_uj", f"{c}_static_uj", f"{c}_metered_us", f"{c}_alloc_us", f"{c}_reason")
    for c in COMPONENTS
}


SHARDS = "what the job holds of the device, gres/shard, is not told to the node that divides its energy"
"""Why the GPU energy of a job with shards is shared. What a node has divided stays so: the parts must add up."""


def holds_shards(alloc_tres: str | None) -> bool:
    """Return whether a job holds shards of GPUs, by its AllocTRES."""
    return re.search(r"(?:^|,)gres/shard(?::[^=,]+)?=0*[1-9]", alloc_tres or "") is not None


def job_slot_row(
    key: tuple[int, int],
    rows: Sequence[Delivered],
    estimate: Estimate | None,
    factors: Factors,
    node_types: NodeTypes,
    idle: IdleUse,
    alloc_tres: str | None = None,
) -> dict[str, Any]:
    """Return the row of (job, slot). `idle` says what of the job's energy counts as held and not used."""
    values = _UNKNOWN.copy()
    values["job_id"], values["slot"] = key
    values["factor_id"] = factors.id
    estimate = _bounded(estimate, factors)
    shares = _shares(rows, estimate, node_types)
    if "gpu" in shares and holds_shards(alloc_tres):
        shares["gpu"] = [_by_shards(share) for share in shares["gpu"]]
    _sum_shares(values, shares)
    values["cpu_us"] = sum_known([delivered.row["cpu_us"] for delivered in rows])
    values.update(zip(WASTED, held_and_unused(rows, idle), strict=True))
    values["simulated"] = any(d.row["simulated"] for d in rows) or bool(estimate and estimate.simulated)
    values["minutes"] = minutes.summed([delivered.row for delivered in rows], values["estimated_uj"])
    if node_types.types:
        values["embodied_ug"] = sum_known([_embodied_ug(delivered, node_types) for delivered in rows])
    total = sum_known((values["energy_uj"], values["estimated_uj"]))
    values.update(emissions(total, factors)._asdict())
    return values


def _bounded(estimate: Estimate | None, factors: Factors) -> Estimate | None:
    """Return an estimate without its figures where they are more than any job's."""
    if estimate and (emissions(sum(estimate.uj.values()), factors).facility_uj or 0) > MOST_OF_SLOT:
        return replace(estimate, uj={})
    return estimate


def _sum_shares(values: dict[str, Any], shares: Mapping[str, Sequence[NodeShare]]) -> None:
    sums = {c: sum_shares(many) for c, many in shares.items()}
    for c, s in sums.items():
        method, uj, static_uj, metered_us, alloc_us, _ = _NAMES[c]
        values[uj], values[static_uj], values[metered_us] = s.energy_uj, s.static_uj, s.metered_us
        values[alloc_us], values[method] = s.alloc_us, s.method
    values["energy_uj"] = sum_known([s.energy_uj for s in sums.values()])
    values["estimated_uj"] = sum_known([s.modelled_uj for s in sums.values()])
    notes = notes_of(shares)
    values["notes"] = json.dumps(notes) if notes else None


def _shares(rows: Sequence[Delivered], estimate: Estimate | None, node_types: NodeTypes) -> dict[str, list[NodeShare]]:
    """Return the shares of each component that any row has."""
    shares: dict[str, list[NodeShare]] = defaultdict(list)
    for ledger, row in rows:
        for c, (method, uj, static_uj, metered_us, _, reason) in _NAMES.items():
            how = row[method]
            if how:
                share = NodeShare(row[uj], row[static_uj], row[metered_us] or 0, how, row[reason], row["alloc_us"])
                shares[c].append(share)
        kind = node_types.type_of(ledger.node)
        if kind and kind.overhead and not row["other_method"]:
            shares["other"].append(_overhead(row, kind.overhead))
    for c, amount in estimate.uj.items() if estimate else ():
        shares[c].append(NodeShare(amount, None, 0, "modelled", estimate.note if estimate else "", 0))
    return shares


def _by_shards(share: NodeShare) -> NodeShare:
    """Return the share of a GPU as what it is: divided by a rule, if it was metered. A reason of the node's own stays."""
    if share.method not in ("counter", "integrated"):
        return share
    return share._replace(method="shared", reason="; ".join(filter(None, (share.reason, SHARDS))))


def _overhead(row: Mapping[str, Any], factor: Fraction) -> NodeShare:
    """Return the share of a node that no meter sees, by the site's factor over the components. It is estimated and says
    so.
    """
    known = sum_known([row[f"{c}_uj"] for c in COMPONENTS])
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
    kind = node_types.type_of(ledger.node)
    if kind is None or not ledger.cpus or not ledger.node_cpus:
        return None
    part = min(Fraction(ledger.cpus, ledger.node_cpus), Fraction(1))
    return kind.embodied_ug(delivered.row["alloc_us"], part, held_gpus(json.loads(ledger.gpus or "[]")))
