# SPDX-License-Identifier: MIT
"""Computes the change of a job's day from the slots that were added or replaced, without reading the others. Pure.

Sums change by the difference. Labels (the least certain method, notes, sources) cannot be subtracted, because other
slots of the day may have the same label. `growth` then returns None, and the caller recomputes the day from all of its
slots.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from carbon_collector.meters.base import COMPONENTS

METHODS = tuple(f"{c}_method" for c in COMPONENTS)
WASTED = ("core_us", "gpu_us", "gpu_idle_uj", "cpu_unused_uj")
"""What was held, and the energy of what was held and not used (sums/waste.py)."""

SUMMED = (
    "cpu_us",
    *(f"{c}_{kind}" for c in COMPONENTS for kind in ("uj", "static_uj", "metered_us", "alloc_us")),
    *("energy_uj", "estimated_uj", "facility_uj", "carbon_ug", "market_ug", "embodied_ug", "upstream_ug", "td_ug"),
    *WASTED,
)
"""The columns of job_slot and job_day that add up."""

WEIGHTS = ("g_per_kwh_weight", "pue_weight")
ADDED = (*SUMMED, *WEIGHTS)
LABELS = (*METHODS, "simulated", "notes", "sources")
"""The other columns of a day: one value for all of its slots."""

SAME = (*METHODS, "simulated", "notes", "source_id")
"""The columns in which a slot and its replacement must agree for `growth` to be known."""

Row = Mapping[str, Any]
_labels = itemgetter(*LABELS)


def growth(slots: Iterable[tuple[Row | None, Row | None]]) -> dict[str, Any] | None:
    """Return a day made of these slots, (before, now), less what was counted before. It is empty where nothing changed.

    It is None where the day must be recomputed from all of its slots. The slots are rows of job_slot, with `source_id`
    and the weights.
    """
    grown: dict[str, Any] = {}
    for before, now in slots:
        if before == now:
            continue
        part = _part(before, now)
        if part is None:
            return None
        if grown:
            _add(grown, part)
            join(grown, part)
        else:
            grown = part
    return grown


def join(day: dict[str, Any], other: Row) -> None:
    """Merge the labels of another row of the same day into `day`: methods, notes, sources and whether it is
    simulated.
    """
    if _labels(day) == _labels(other):
        return
    for name in METHODS:
        day[name] = max(day[name] or "", other[name] or "") or None
    day["simulated"] = bool(day["simulated"] or other["simulated"])
    notes = {note for row in (day, other) for note in json.loads(row["notes"] or "[]")}
    day["notes"] = json.dumps(sorted(notes)) if notes else None
    sources = {int(word) for row in (day, other) for word in row["sources"].split(",")}
    day["sources"] = ",".join(map(str, sorted(sources)))


def _part(before: Row | None, now: Row | None) -> dict[str, Any] | None:
    """Return what one slot adds, as a day, or None."""
    if now is None:
        return None
    part = dict(zip(_OF_SLOT, _of_slot(now), strict=True))
    part["sources"] = str(now["source_id"])
    return part if before is None or _subtract(part, before, now) else None


_OF_SLOT = (*ADDED, *METHODS, "simulated", "notes")
_of_slot = itemgetter(*_OF_SLOT)


def _subtract(part: dict[str, Any], before: Row, now: Row) -> bool:
    """Reduce `part` to the change of a slot's figures. Return False where a figure or a label appeared or disappeared."""
    if any(before[name] != now[name] for name in SAME):
        return False
    for name in ADDED:
        old, new = before[name], now[name]
        if (old is None) != (new is None):
            return False
        if old is not None:
            part[name] = new - old
    return True


def _add(day: dict[str, Any], part: Row) -> None:
    for name in ADDED:
        amount = part[name]
        if amount is not None:
            day[name] = (day[name] or 0) + amount
