# SPDX-License-Identifier: MIT
"""Adds up figures of which some may be unknown: unknown is not 0."""

from __future__ import annotations

from collections.abc import Iterable


def sum_known(values: Iterable[int | None]) -> int | None:
    """Return the sum of the values that are known, or None if none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
