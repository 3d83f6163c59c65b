# SPDX-License-Identifier: MIT
"""Defines a point of power over time, and divides the point of a slot into minutes. Pure.

No point is shorter than a minute: what a run had of its first and of its last minute is in the point beside it. So a
tail that the node's clock puts after the run's end makes no peak, and nobody sees more than a minute shows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from carbon_acct.known import sum_known
from carbon_acct.sums.minutes import COUNT, ESTIMATED, MINUTE_S, Values
from carbon_collector.apportion import apportion
from carbon_collector.meters.base import COMPONENTS


@dataclass(frozen=True)
class Point:
    """The energy of a run in a part of a slot, or of a day whose slots were folded: microjoules, None where not known."""

    start: int
    end: int
    energy_uj: int | None
    cpu_uj: int | None
    dram_uj: int | None
    gpu_uj: int | None
    other_uj: int | None
    estimated_uj: int | None
    carbon_ug: int | None
    intensity_g_per_kwh: float | None


def by_minute(point: Point, slot: int, minutes: Mapping[str, Values]) -> list[Point]:
    """Return the point of a slot as points of a minute, which add up to it; the point itself where it is that short.

    An estimate that has no minutes is spread evenly, and the emissions like the energy.
    """
    borders = _borders(point.start, point.end)
    lengths = [end - start for start, end in pairwise(borders)]
    many = len(lengths)
    if many < 2:
        return [point]
    place = [min(max(bisect_right(borders, slot + at * MINUTE_S) - 1, 0), many - 1) for at in range(COUNT)]

    def grouped(values: Values) -> list[int | None]:
        return [sum_known(uj for uj, at in zip(values, place, strict=True) if at == i) for i in range(many)]

    nothing: list[int | None] = [None] * many
    parts = {f"{c}_uj": grouped(minutes[c]) if c in minutes else nothing for c in COMPONENTS}
    energy = [sum_known(column) for column in zip(*parts.values(), strict=True)]
    estimated: Sequence[int | None] = nothing
    if point.estimated_uj is not None:
        by = minutes.get(ESTIMATED)
        estimated = apportion(point.estimated_uj, lengths) if by is None else grouped(by)
    used = [(uj or 0) + (more or 0) for uj, more in zip(energy, estimated, strict=True)]
    carbon: Sequence[int | None] = nothing
    if point.carbon_ug is not None:
        carbon = apportion(point.carbon_ug, used if any(used) else lengths)
    return [
        replace(
            point,
            start=borders[i],
            end=borders[i + 1],
            energy_uj=energy[i],
            **{name: values[i] for name, values in parts.items()},
            estimated_uj=estimated[i],
            carbon_ug=None if energy[i] is None and estimated[i] is None else carbon[i],
        )
        for i in range(many)
    ]


def _borders(start: int, end: int) -> list[int]:
    """Return the times at which [start, end) is cut: full minutes, a minute from both ends at least."""
    first = -(-start // MINUTE_S) * MINUTE_S
    inner = range(first, end, MINUTE_S)
    return [start, *(at for at in inner if at - start >= MINUTE_S and end - at >= MINUTE_S), end]
