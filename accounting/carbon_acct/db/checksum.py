# SPDX-License-Identifier: MIT
"""One checksum of everything that was accounted: equal, bit for bit, on two databases that took in the same.

Each row is a line of text, with names in place of the ids that the database gave its rows. What depends on when and
where a row was stored is left out: the ids, the times of receiving, asking and computing, and the doubles, which only
weigh what is shown and whose sums depend on the order of adding. The figure of a table is the sum of the SHA-256 of its
lines, so that millions of rows need no order. The checksum is the SHA-256 of the tables' figures.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Float, Select, select
from sqlalchemy.orm import Session, aliased

from carbon_acct.db import meta
from carbon_acct.db.models import (
    Association,
    Cluster,
    DaySum,
    Dropped,
    FactorSource,
    Intensity,
    Job,
    JobDay,
    JobSlot,
    Ledger,
    Meta,
    Node,
    NodeJobSlot,
    NodeSlot,
    Segment,
    SiteSlot,
    SlotFactor,
)

NUMBERS = frozenset({"id", "association_id", "sources", "part"})
"""The columns that hold ids of rows, beside foreign keys, and the number of a part of a sum."""

TIMES = frozenset({"received", "fetched_at", "computed_at"})
SETTLED = (meta.TIMEZONE, meta.DELIVERED_FROM, meta.SLOTS_FROM)
"""The keys of `meta` that say how to read the other tables."""

AT_A_TIME = 1000


@dataclass(frozen=True)
class Figure:
    """The number of a table's rows, and the sum of their SHA-256."""

    rows: int
    sha256_sum: int


def checksum(figures: dict[str, Figure]) -> str:
    """Return the SHA-256 of all tables' figures."""
    text = "".join(f"{table} {figure.rows} {figure.sha256_sum:064x}\n" for table, figure in sorted(figures.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def figures(session: Session) -> dict[str, Figure]:
    """Return the figure of each table. It reads everything and keeps no row in memory."""
    rows: dict[str, int] = defaultdict(int)
    sums: dict[str, int] = defaultdict(int)
    for table, line in lines(session):
        rows[table] += 1
        sums[table] += int.from_bytes(hashlib.sha256(line.encode()).digest())
    return {table: Figure(rows[table], sums[table] % 2**256) for table in rows}


def lines(session: Session) -> Iterator[tuple[str, str]]:
    """Yield every row as the name of its table and its text, in no order."""
    sources = {row.id: [row.zone, row.provider, row.scope, row.purpose, row.text] for row in _sources(session)}
    for name, query in _queries().items():
        for row in session.execute(query.execution_options(yield_per=AT_A_TIME)):
            values = list(row)
            if name == "job_day":  # the last column: ids with commas between
                values[-1] = sorted(sources[int(word)] for word in values[-1].split(","))
            yield name, json.dumps(values, separators=(",", ":"))


def _sources(session: Session) -> Iterator[FactorSource]:
    yield from session.scalars(select(FactorSource))


def _queries() -> dict[str, Select[Any]]:
    run = (Job.job_id_raw, Job.submit)
    ledger = (Ledger.stream, Ledger.job_id, Ledger.run)
    node = (Cluster.name, Node.name)
    source = (FactorSource.zone, FactorSource.provider, FactorSource.scope, FactorSource.purpose, FactorSource.text)
    market = aliased(FactorSource)
    of_market = (market.zone, market.provider, market.scope, market.purpose, market.text)
    who = (Cluster.name, Association.uid, Association.user, Association.account, Association.partition, Association.qos)
    return {
        "meta": select(Meta.key, Meta.value).where(Meta.key.in_(SETTLED)),
        "segment": _of_node(select(*node, *_rest(Segment)), Segment),
        "dropped": _of_node(select(*node, *_rest(Dropped)), Dropped),
        "node_slot": _of_node(select(*node, *_rest(NodeSlot)), NodeSlot),
        "ledger": _of_node(select(*node, *run, *_rest(Ledger)), Ledger).outerjoin(Job, Job.id == Ledger.matched_id),
        "node_job_slot": _of_node(select(*node, *ledger, *_rest(NodeJobSlot)), Ledger).join(
            NodeJobSlot, NodeJobSlot.ledger_id == Ledger.id
        ),
        "job": select(Cluster.name, *_rest(Job)).join(Cluster, Cluster.id == Job.cluster_id),
        "job_slot": _of_job(select(Cluster.name, *run, *source, *_applied(), *of_market, *_rest(JobSlot)), JobSlot)
        .join(SlotFactor, SlotFactor.id == JobSlot.factor_id)
        .join(FactorSource, FactorSource.id == SlotFactor.source_id)
        .outerjoin(market, market.id == SlotFactor.market_source_id),
        "job_day": _of_job(select(Cluster.name, *run, *_rest(JobDay), JobDay.sources), JobDay),
        "day_sum": select(*who, *_rest(DaySum))
        .select_from(DaySum)
        .join(Association, Association.id == DaySum.association_id)
        .join(Cluster, Cluster.id == Association.cluster_id),
        "site_slot": select(Cluster.name, *_rest(SiteSlot)).join(Cluster, Cluster.id == SiteSlot.cluster_id),
        "intensity": select(*source, *_rest(Intensity)).join(FactorSource, FactorSource.id == Intensity.source_id),
    }


def _of_node(query: Select[Any], model: Any) -> Select[Any]:
    return query.select_from(model).join(Node, Node.id == model.node_id).join(Cluster, Cluster.id == Node.cluster_id)


def _of_job(query: Select[Any], model: Any) -> Select[Any]:
    return query.select_from(model).join(Job, Job.id == model.job_id).join(Cluster, Cluster.id == Job.cluster_id)


def _applied() -> list[Any]:
    """Return the factors that were applied to a job, not how often they changed before."""
    return [column for column in _rest(SlotFactor) if column.name not in ("slot", "revision")]


def _rest(model: Any) -> list[Any]:
    """Return every column but those that depend on when and where a row was stored. A new column is included by itself."""
    return [
        getattr(model, column.key)
        for column in model.__table__.columns
        if column.name not in NUMBERS | TIMES and not column.foreign_keys and not isinstance(column.type, Float)
    ]
