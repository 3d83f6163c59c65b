# SPDX-License-Identifier: MIT
"""The split: who pays for what a meter counted. Pure arithmetic on integers, exact whatever the inputs.

Two steps, as docs/methodology.md derives them: the static part by allocation, the dynamic part by use.
For a power that is a fixed part plus a linear one this is the Shapley value, so it is efficient (the parts
add up), symmetric (equals pay equally), gives nothing to whoever holds and uses nothing, and adds up over time.
"""

from __future__ import annotations

from ..lean.named import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Claim(NamedTuple):
    """What one job brings to the split of one meter.

    `held`: capacity held x time (any integer unit, the same for all claims and for `capacity`);
    `used`: what it used (CPU microseconds, byte-microseconds, ...).
    """

    held: int
    used: int


class Parts(NamedTuple):
    """Microjoules: per job its static and dynamic part in the order of the claims, idle, system."""

    static: list[int]
    dynamic: list[int]
    idle: int
    system: int


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Divide an integer by weights with the largest-remainder method (Hamilton): the parts sum to it exactly.

    Equal remainders are served in order. Weights must not be negative, and one must be positive.
    """
    weight_sum = sum(weights)
    parts = [total * weight // weight_sum for weight in weights]
    left = total - sum(parts)
    if left:
        order = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % weight_sum), i))
        for i in order[:left]:
            parts[i] += 1
    return parts


def static_part(energy_uj: int, idle_uw: int, elapsed_us: int) -> int:
    """S = min(E, P0 x dt): microjoules that the component would have drawn doing nothing."""
    return min(energy_uj, idle_uw * elapsed_us // 1_000_000)


def split(energy_uj: int, static_uj: int, capacity: int, claims: Sequence[Claim], system_used: int) -> Parts:
    """Split one meter's energy over one interval.

    `capacity` is the component's whole capacity x the interval, in the unit of `Claim.held`; what nobody holds is
    idle. `system_used` is what everything outside the jobs used. Energy that nobody can be shown to have
    used belongs to the system.
    """
    held = [claim.held for claim in claims]
    free = max(0, capacity - sum(held))
    static = apportion(static_uj, [*held, free]) if any(held) or free else [0] * len(claims) + [static_uj]
    used = [claim.used for claim in claims]
    weights = [*used, system_used]
    dynamic_uj = energy_uj - static_uj
    dynamic = apportion(dynamic_uj, weights) if any(weights) else [0] * len(claims) + [dynamic_uj]
    return Parts(static[:-1], dynamic[:-1], static[-1], dynamic[-1])
