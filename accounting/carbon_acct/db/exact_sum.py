# SPDX-License-Identifier: MIT
"""Sums that may exceed 64 bits, exactly.

A sum over a site can exceed 64 bits (2.5 GWh of microjoules), and SQLite's SUM then fails. So the quotients and the
remainders of a division by a million are summed apart in the database, and put together here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func

SPLIT = 1_000_000
"""The divisor."""


def exact_parts(column: Any) -> list[Any]:
    """Return the two sums that a query selects for one column: of its quotients, and of its remainders."""
    return [func.sum(column // SPLIT), func.sum(column % SPLIT)]


def exact_whole(parts: Sequence[Any]) -> int | None:
    """Return the sum that the two parts make up, or None where every value was NULL."""
    high, low = parts
    return None if high is None else int(high) * SPLIT + int(low)


def exact_named(model: Any, names: Sequence[str]) -> list[Any]:
    """Return the parts of these columns of a table under names by which `exact_of` finds them in a row."""
    return [part.label(f"{name}_{at}") for name in names for at, part in enumerate(exact_parts(getattr(model, name)))]


def exact_of(row: Any, name: str) -> int | None:
    """Return the sum of a column that was selected by `exact_named`."""
    return exact_whole((getattr(row, f"{name}_0"), getattr(row, f"{name}_1")))
