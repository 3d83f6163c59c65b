# SPDX-License-Identifier: MIT
"""What energy costs where and when: the `slot_price` row of each zone and slot that a job used.

A row is made when the first job needs it, and prices every job of that zone and slot alike. It is a function
of the settings and of the intensities that are known; when those change it is computed again (re-pricing).
"""

from __future__ import annotations

import time
from collections.abc import Collection
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
        """The price of each zone and slot, in force until this transaction ends; rows that are missing are made.

        Locked as read: a re-pricing in another transaction waits, or is waited for.
        """
        found: dict[ZoneSlot, Price] = {}
        if not wanted:
            return found
        slots = [slot for _, slot in wanted]
        for row in session.execute(_LOCKED, {"low": min(slots), "high": max(slots)}):
            if (row.zone, row.slot) in wanted:
                found[row.zone, row.slot] = price_of(row)
        missing = sorted(set(wanted) - found.keys())
        rows = self._made(session, missing) if missing else []
        session.add_all(rows)
        session.flush()
        return found | {(row.zone, row.slot): price_of(row) for row in rows}

    def _made(self, session: Session, missing: Collection[ZoneSlot]) -> list[SlotPrice]:
        now = int(time.time())
        values = {
            "pue": self.pue,
            "pue_float": float(self.pue),
            "g_per_kwh": self.factor.g_per_kwh,
            "g_per_kwh_float": float(self.factor.g_per_kwh),
            "source_id": yearly_source(session, self.factor, now),
            "estimated": False,
            "computed_at": now,
        }
        return [SlotPrice(zone=zone, slot=slot, **values) for zone, slot in missing]


_LOCKED = (
    select(*table_of(SlotPrice).columns)
    .where(SlotPrice.slot.between(bindparam("low"), bindparam("high")))
    .with_for_update(read=True)
)


def price_of(row: Any) -> Price:
    """The row as the arithmetic takes it."""
    return Price(
        pue=row.pue,
        g_per_kwh=row.g_per_kwh,
        market_g_per_kwh=row.market_g_per_kwh,
        upstream_g_per_kwh=row.upstream_g_per_kwh,
        td_g_per_kwh=row.td_g_per_kwh,
        id=row.id,
    )
