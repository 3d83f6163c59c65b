# SPDX-License-Identifier: MIT
"""What a source of intensities is, whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Period:
    """The intensity of [start, end), epoch seconds UTC; `g_per_kwh` is exact decimal text."""

    start: int
    end: int
    g_per_kwh: str
    estimated: bool = False
    updated_at: int | None = None
