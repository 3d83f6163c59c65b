# SPDX-License-Identifier: MIT
"""What energy costs where and when: the `slot_price` row of each zone and slot that a job used.

A row is made when the first job needs it, and prices every job of that zone and slot alike. It is a function
of the settings and of the intensities that are known; when those change a new revision follows (reprice.py).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.days import Days
from carbon_acct.db.models import SlotPrice
from carbon_acct.db.rows import table_of
from carbon_acct.grid.factors import Factor
from carbon_acct.grid.intensity import yearly_source
from carbon_acct.pricing import Price

ZoneSlot = tuple[str, int]


@dataclass(frozen=True)
class Prices:
    """The site's prices. `factor` prices what nothing better covers."""

    factor: Factor
    pue: str
    days: Days

    def zone(self, cluster: str, partition: str | None) -> str:  # noqa: ARG002  one zone feeds the site
        """The zone that feeds a job's nodes."""
        return self.factor.zone

    def of(self, session: Session, wanted: Collection[ZoneSlot]) -> dict[ZoneSlot, Price]:
        """The price of each zone and slot; rows that are missing are made."""
        if not wanted:
            return {}
        slots = {slot for _, slot in wanted}
        found = {key: price_of(row) for key, row in current(session, min(slots), max(slots)).items() if key in wanted}
        missing = sorted(set(wanted) - found.keys())
        for zone in sorted({zone for zone, _ in missing}):
            values = self.values(session, zone, [slot for of, slot in missing if of == zone])
            rows = [SlotPrice(zone=zone, slot=slot, revision=1, **value) for slot, value in values.items()]
            session.add_all(rows)
            session.flush()
            found |= {(row.zone, row.slot): price_of(row) for row in rows}
        return found

    def values(self, session: Session, zone: str, slots: Iterable[int]) -> dict[int, dict[str, Any]]:  # noqa: ARG002
        """What the rows of a zone's slots have to hold as things are known now."""
        now = int(time.time())
        value = {
            "pue": self.pue,
            "pue_float": float(self.pue),
            "g_per_kwh": self.factor.g_per_kwh,
            "g_per_kwh_float": float(self.factor.g_per_kwh),
            "source_id": yearly_source(session, self.factor, now),
            "estimated": False,
            "market_g_per_kwh": None,
            "market_source_id": None,
            "upstream_g_per_kwh": None,
            "td_g_per_kwh": None,
            "computed_at": now,
        }
        return dict.fromkeys(slots, value)


def current(session: Session, low: int, high: int) -> dict[ZoneSlot, Any]:
    """The row in force of each zone and slot in [low, high] that has one."""
    return {(row.zone, row.slot): row for row in session.execute(_BY_REVISION, {"low": low, "high": high})}


_BY_REVISION = (
    select(*table_of(SlotPrice).columns)
    .where(SlotPrice.slot.between(bindparam("low"), bindparam("high")))
    .order_by(SlotPrice.revision)
)


def price_of(row: Any) -> Price:
    """A row as the arithmetic takes it."""
    return Price(
        pue=row.pue,
        g_per_kwh=row.g_per_kwh,
        market_g_per_kwh=row.market_g_per_kwh,
        upstream_g_per_kwh=row.upstream_g_per_kwh,
        td_g_per_kwh=row.td_g_per_kwh,
        id=row.id,
    )
