# SPDX-License-Identifier: MIT
"""Cuts amounts of a slot or a day at the border of a window of time, so that adjoining windows add up exactly. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FOREVER = 2**62
MAX_TIME = 253_370_764_800
"""Epoch seconds of the year 9999: the last whose days every zone's calendar has (datetime.MAXYEAR)."""


@dataclass(frozen=True)
class Window:
    """Epoch seconds [start, end); None: unbounded."""

    start: int | None = None
    end: int | None = None

    @property
    def low(self) -> int:
        """Return the first second."""
        return self.start if self.start is not None else 0

    @property
    def high(self) -> int:
        """Return the first second after the window."""
        return self.end if self.end is not None else FOREVER


@dataclass(frozen=True)
class Span:
    """A slot, or a day whose slots were replaced by one daily row: epoch seconds [start, end)."""

    start: int
    end: int


def part(amount: int, span: Span, window: Window, start: int | None, end: int | None) -> int:
    """Return the part of a span's `amount` that lies in the window, by the time that a job running [start, end) spent
    in it.

    Parts are whole numbers, rounded cumulatively, so the parts of adjoining windows add up to `amount`.
    """
    low, high = max(span.start, start or 0), min(span.end, end if end is not None else FOREVER)
    if high <= low:  # the job was there for less than a second: all of it at one instant
        low = min(max(low, span.start), span.end - 1)
        high = low + 1
    return _until(amount, low, high, window.high) - _until(amount, low, high, window.low)


def _until(amount: int, low: int, high: int, border: int) -> int:
    return amount * min(max(border - low, 0), high - low) // (high - low)


def inside(start: int | None, end: int | None, now: int, window: Window) -> int:
    """Return the seconds of [start, end) in the window. A run that has not ended lasts until `now`."""
    if start is None:
        return 0
    return max(0, min(end if end is not None else now, window.high) - max(start, window.low))
