# SPDX-License-Identifier: MIT
"""Adapts the settings to the hardware of this node: the interval, idle power, the place of the hardware's files."""

from __future__ import annotations

from .lean.typing import TYPE_CHECKING
from .meters.base import Place
from .units import US_PER_S

if TYPE_CHECKING:
    from .meters.base import Domain
    from .settings import Settings


def place_of(settings: Settings) -> Place:
    """Return where this node shows its hardware."""
    return Place(*(settings.text("collector", key) for key in Place._fields))


def longest_interval_s(domains: dict[str, Domain]) -> float:
    """Return the longest time between two readings in which no counter can advance by more than a quarter of
    its range.
    """
    turns = [d.range_uj / d.max_watts / US_PER_S for d in domains.values() if d.range_uj]
    return min(turns, default=float("inf")) / 4


def idle_watts(settings: Settings, domains: dict[str, Domain]) -> tuple[dict[str, float], str]:
    """Return [collector] idle_watts by domain, and what is wrong with it. It is one figure for all sockets, or one for
    each.
    """
    words = settings.words("collector", "idle_watts")
    try:
        watts = [float(word) for word in words]
    except ValueError:
        return {}, "[collector] idle_watts: not numbers; idle power is learned"
    socket_of = {d.name: d.socket for d in domains.values() if d.component == "cpu"}
    sockets = sorted(set(socket_of.values()))
    if not watts:
        return {}, ""
    if len(watts) not in (1, len(sockets)):
        return {}, f"[collector] idle_watts: {len(watts)} figures for {len(sockets)} sockets; it is learned"
    each = dict(zip(sockets, watts * len(sockets) if len(watts) == 1 else watts))
    dies = list(socket_of.values())
    return {name: each[socket] / dies.count(socket) for name, socket in socket_of.items()}, ""
