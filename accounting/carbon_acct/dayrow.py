# SPDX-License-Identifier: MIT
"""A job's day when one of its slots comes or is replaced, from the day as it was: pure.

Sums follow by difference. What does not, because nobody knows which other slots share it (the least certain method,
notes, sources), is left to whoever can look at all slots of the day.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from carbon_acct.db.models import COMPONENTS

METHODS = tuple(f"{c}_method" for c in COMPONENTS)
SUMMED = (
    "cpu_us",
    *(f"{c}_{kind}" for c in COMPONENTS for kind in ("uj", "static_uj", "metered_us", "alloc_us")),
    *("energy_uj", "estimated_uj", "facility_uj", "carbon_ug", "market_ug", "embodied_ug", "upstream_ug", "td_ug"),
)
"""Columns of job_slot and job_day that add up."""

WEIGHTS = ("g_per_kwh_weight", "pue_weight")
SAME = (*METHODS, "simulated", "notes", "source_id")
"""What a slot and the one that replaces it must have in common for the day to follow."""

KEPT = (*SUMMED, *METHODS, *WEIGHTS, "simulated", "notes")
"""What a day of one slot has of it."""

Row = Mapping[str, Any]


def followed(day: Row | None, slots: Iterable[tuple[Row | None, Row]]) -> dict[str, Any] | None:
    """`day` after slots were replaced, (before, now); None: it has to be made from all of its slots.

    Rows of job_day and job_slot, those of slots with `source_id` and the weights besides.
    """
    row = None if day is None else dict(day)
    for before, now in slots:
        if before is None:
            row = _with(row, now)
        elif row is None or any(before[name] != now[name] for name in SAME) or not _replace(row, before, now):
            return None
    return row


def _with(day: dict[str, Any] | None, slot: Row) -> dict[str, Any]:
    """The day, changed where there is one, with one more slot."""
    if day is None:
        kept = {name: slot[name] for name in KEPT}
        return kept | {"sources": str(slot["source_id"])}
    for name in SUMMED:
        amount = slot[name]
        if amount is not None:
            day[name] = (day[name] or 0) + amount
    for name in METHODS:
        if slot[name] != day[name]:
            day[name] = max(day[name] or "", slot[name] or "")
    for name in WEIGHTS:
        day[name] += slot[name]
    day["simulated"] = bool(day["simulated"] or slot["simulated"])
    if slot["notes"] not in (None, day["notes"]):
        day["notes"] = json.dumps(sorted({*json.loads(day["notes"] or "[]"), *json.loads(slot["notes"])}))
    if str(slot["source_id"]) != day["sources"]:
        sources = {int(word) for word in day["sources"].split(",")} | {slot["source_id"]}
        day["sources"] = ",".join(map(str, sorted(sources)))
    return day


def _replace(day: dict[str, Any], before: Row, now: Row) -> bool:
    """Change the day's sums by what a slot's have changed; False where a figure came or went."""
    for name in SUMMED:
        old, new = before[name], now[name]
        if old is None and new is None:
            continue
        if old is None or new is None or day[name] is None:
            return False
        day[name] += new - old
    for name in WEIGHTS:
        day[name] += now[name] - before[name]
    return True
