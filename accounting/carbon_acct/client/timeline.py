# SPDX-License-Identifier: MIT
"""Brings the power of a job over time to the width of a terminal, and projects it to the job's time limit. Pure.

A point is one of `GET /v1/power/series` (docs/http-api.md): a part of a slot, or a minute, with its energy. The points of one
job may differ in length: quarters of an hour beside minutes, or days whose slots were folded.
"""

from __future__ import annotations

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple
from carbon_collector.units import SLOT_S, UJ_PER_J

from .cells import US_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Point = Mapping[str, Any]
    Job = Mapping[str, Any]

WIDEST = 8
"""The characters that one point gets at most."""


class Curves(NamedTuple):
    """What is drawn: watts and g/kWh for each character, each of the same time, and the first and the last second."""

    watts: list[float | None]
    intensity: list[float | None]
    start: int
    end: int


class Projection(NamedTuple):
    """What a running job will have consumed at its time limit if it goes on as before: it is no measurement."""

    until: int
    energy_uj: int
    carbon_ug: int | None


def curves(points: Sequence[Point], width: int) -> Curves | None:
    """Return the curves in at most `width` characters; None without points. A character has the mean of its time."""
    if not points:
        return None
    start, end = int(points[0]["start"]), int(points[-1]["end"])
    count = width if len(points) > width else len(points) * min(WIDEST, width // len(points))
    borders = [start + (end - start) * at / count for at in range(count + 1)]
    columns = list(zip(borders, borders[1:]))
    watts = _means(columns, [(point, _watts([point])) for point in points])
    intensity = _means(columns, [(point, _intensity(point)) for point in points])
    return Curves(watts, intensity, start, end)


def range_w(points: Sequence[Point]) -> tuple[float, float] | None:
    """Return the lowest and the highest watts of any point; None where none has energy."""
    known = [watts for point in points if (watts := _watts([point])) is not None]
    return (min(known), max(known)) if known else None


def is_by_minute(points: Sequence[Point]) -> bool:
    """Return whether a part of the curve is finer than slots: whether a point that is not the last ends within one."""
    return any(point["end"] % SLOT_S and point["end"] - point["start"] < SLOT_S for point in points[:-1])


def power_w(points: Sequence[Point]) -> float | None:
    """Return the mean watts over the points that have energy, measured or estimated; None where none has."""
    return _watts(points)


def projection(job: Job, points: Sequence[Point], now: int) -> Projection | None:
    """Return what a job that has not ended will have consumed at its limit; None where a part of that is not known.

    The power is the mean so far. The emissions grow as the energy does, at the intensity so far.
    """
    start, limit, watts = job.get("start"), job.get("timelimit_s"), power_w(points)
    if start is None or job.get("end") is not None or not limit or watts is None:
        return None
    used = sum(job.get(key) or 0 for key in ("energy_uj", "estimated_uj"))
    until = int(start) + int(limit) + int(job.get("suspended_s") or 0)
    since = int(points[-1]["end"])
    if until <= max(now, since) or not used:
        return None
    energy = used + round(watts * (until - since) * UJ_PER_J)
    carbon = job.get("carbon_ug")
    return Projection(until, energy, None if carbon is None else round(carbon * energy / used))


def _energy(point: Point) -> int | None:
    known = [point[key] for key in ("energy_uj", "estimated_uj") if point.get(key) is not None]
    return sum(known) if known else None


def _watts(group: Sequence[Point]) -> float | None:
    known = [(energy, point["end"] - point["start"]) for point in group if (energy := _energy(point)) is not None]
    seconds = sum(length for _, length in known)
    return sum(energy for energy, _ in known) / seconds / US_PER_S if seconds > 0 else None


def _intensity(point: Point) -> float | None:
    value = point.get("intensity_g_per_kwh")
    return None if value is None else float(value)


def _means(columns: Sequence[tuple[float, float]], values: Sequence[tuple[Point, float | None]]) -> list[float | None]:
    """Return the mean of the points' values over the time of each column; None where no point in it has one."""
    means: list[float | None] = []
    first = 0
    for start, end in columns:
        while first < len(values) - 1 and values[first][0]["end"] <= start:
            first += 1
        weights = 0.0
        total = 0.0
        for point, value in values[first:]:
            if point["start"] >= end:
                break
            overlap = min(end, point["end"]) - max(start, point["start"])
            if value is not None and overlap > 0:
                weights += overlap
                total += value * overlap
        means.append(total / weights if weights else None)
    return means
