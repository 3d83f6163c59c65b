# SPDX-License-Identifier: MIT
"""Splits what a meter counted among the jobs, idle and system. Pure arithmetic on integers, exact for any input.

The static part is divided by allocation, the dynamic part by use; docs/methodology.md derives both. For a power that
is a fixed part plus a linear one this is the Shapley value. So it is efficient (the parts add up), symmetric (equals
pay equally), charges nothing to whoever holds and uses nothing, and adds up over time.
"""

from __future__ import annotations

from ..apportion import apportion
from ..lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Claim(NamedTuple):
    """The claim of one job on the energy of one meter.

    `held`: capacity held x time (any integer unit, the same for all claims and for `capacity`);
    `used`: what it used (CPU microseconds, byte-microseconds, ...).
    """

    held: int
    used: int


class Parts(NamedTuple):
    """Microjoules: the static and dynamic part of each job in the order of the claims, then idle and system."""

    static: list[int]
    dynamic: list[int]
    idle: int
    system: int


CARRIED_US = 10_000_000
"""Time whose idle energy is the most that is carried: with 3 % of noise a reading a slot's shortfall is 3 s as a rule."""


def static_part(energy_uj: int, idle_uw: int, elapsed_us: int, carried_uj: int = 0) -> tuple[int, int]:
    """Return S = min(E, P0 x dt + carried), the microjoules that the component would have drawn doing nothing, and what
    of that is carried to the next interval.

    A noisy meter shows too little in every second interval. Cut off there, its noise would be dynamic energy in the
    others, and go to whoever used next to nothing.
    """
    due = idle_uw * elapsed_us // 1_000_000 + carried_uj
    static = min(energy_uj, due)
    return static, min(due - static, idle_uw * CARRIED_US // 1_000_000)


def split(energy_uj: int, static_uj: int, capacity: int, claims: Sequence[Claim], system_used: int) -> Parts:
    """Split one meter's energy over one interval.

    `capacity` is the component's whole capacity x the interval, in the unit of `Claim.held`; the part that nobody holds
    is idle. `system_used` is what everything outside the jobs used. Energy that nobody is known to have used belongs
    to the system.
    """
    held = [claim.held for claim in claims]
    free = max(0, capacity - sum(held))
    static = apportion(static_uj, [*held, free]) if any(held) or free else [0] * len(claims) + [static_uj]
    used = [claim.used for claim in claims]
    weights = [*used, system_used]
    dynamic_uj = energy_uj - static_uj
    dynamic = apportion(dynamic_uj, weights) if any(weights) else [0] * len(claims) + [dynamic_uj]
    return Parts(static[:-1], dynamic[:-1], static[-1], dynamic[-1])
