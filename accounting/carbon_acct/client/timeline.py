# SPDX-License-Identifier: MIT
"""Brings the power of a job over time to the width of a terminal, and projects it to the job's time limit. Pure.

A point is one of `GET /v1/power/series` (docs/http-api.md): a part of a slot with its energy.
"""

from __future__ import annotations

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple
from carbon_collector.units import UJ_PER_J

from .cells import US_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Point = Mapping[str, Any]
    Job = Mapping[str, Any]

WIDEST = 8
"""The characters that one point gets at most."""


class Curves(NamedTuple):
    """What is drawn: watts and g/kWh for each character, the first and the last second, and what a character stands for."""

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
    """Return the curves in at most `width` characters; None without points. Points are joined where there are too many."""
    if not points:
        return None
    each = -(-len(points) // width)
    groups = [points[at : at + each] for at in range(0, len(points), each)]
    times = max(1, min(WIDEST, width // len(groups)))
    watts = [value for group in groups for value in [_watts(group)] * times]
    intensity = [value for group in groups for value in [_intensity(group)] * times]
    return Curves(watts, intensity, int(points[0]["start"]), int(points[-1]["end"]))


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


def _intensity(group: Sequence[Point]) -> float | None:
    known = [float(point["intensity_g_per_kwh"]) for point in group if point.get("intensity_g_per_kwh") is not None]
    return sum(known) / len(known) if known else None
