# SPDX-License-Identifier: MIT
"""Divides an integer exactly: the parts always add up to the whole. Pure."""

from __future__ import annotations

from .lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Divide an integer by weights with the largest-remainder method (Hamilton); the parts sum to it exactly.

    Equal remainders are served in order. No weight may be negative, and one must be positive.
    """
    weight_sum = sum(weights)
    parts = [total * weight // weight_sum for weight in weights]
    left = total - sum(parts)
    if left:
        order = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % weight_sum), i))
        for i in order[:left]:
            parts[i] += 1
    return parts
