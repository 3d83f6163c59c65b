# SPDX-License-Identifier: MIT
"""Keeps the energy of jobs by minute of their slots, beside the rows. No I/O.

Every energy that `posting` books to a job's row is booked here too, so the minutes of a row add up to its energy to the
microjoule. An interval that is longer than a minute is spread evenly over the time that the job was there in it. There is
a `Minutes` only with `[collector] power_minutes = yes`: otherwise this module is not even loaded.
"""

from __future__ import annotations

from ..apportion import apportion
from ..lean.typing import TYPE_CHECKING
from ..units import SLOT_S, US_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .cpu_time import Presence
    from .rows import JobRow
    from .work import Piece

    Values = list[int | None]
    """Microjoules of each minute of a slot; `None` where nothing was metered."""
    Key = tuple[int, str, int]

MINUTE_US = 60 * US_PER_S
COUNT = SLOT_S // 60
"""Number of minutes in a slot."""


class Minutes:
    """The minutes of the rows that a collector has in memory: by row, then by component."""

    def __init__(self) -> None:
        self._rows: dict[Key, dict[str, Values]] = {}
        self._piece: Piece | None = None
        self._spans: dict[tuple[int, int], tuple[int, list[int]]] = {}

    def add(self, row: JobRow, component: str, energy_uj: int, piece: Piece, job: Presence) -> None:
        """Add what a job had of a piece of an interval (microjoules) to the minutes in which it was there."""
        components = self._rows.setdefault(row.key, {})
        values = components.get(component)
        if values is None:
            values = components[component] = [None] * COUNT
        if piece is not self._piece:
            self._piece, self._spans = piece, {}
        when = job.start_us, job.end_us  # the same for all jobs that were there all the time
        span = self._spans.get(when)
        if span is None:
            span = self._spans[when] = _span(piece, job)
        at, lengths = span
        if len(lengths) == 1:  # most intervals are shorter than a minute
            values[at] = (values[at] or 0) + energy_uj
            return
        for part in apportion(energy_uj, lengths):
            values[at] = (values[at] or 0) + part
            at += 1

    def of(self, row: JobRow) -> dict[str, Values]:
        """Return the minutes of a row by component: of those whose minutes add up to the energy.

        Others began before the setting was switched on, or went on while it was off.
        """
        found = self._rows.get(row.key, {})
        return {
            name: values
            for name, values in found.items()
            if sum([uj for uj in values if uj is not None]) == row.component(name).energy_uj
        }

    def forget(self, key: Key) -> None:
        """Drop the minutes of a row that is forgotten."""
        self._rows.pop(key, None)

    def save(self) -> list[Any]:
        """Return the minutes as the state on disk holds them."""
        return [[*key, components] for key, components in self._rows.items()]

    def load(self, saved: list[Any], known: Iterable[Key]) -> None:
        """Take up the minutes that `save` saved, of rows that are known."""
        rows = {(job_id, run, slot): components for job_id, run, slot, components in saved}
        self._rows = {key: rows[key] for key in known if key in rows}


def _span(piece: Piece, job: Presence) -> tuple[int, list[int]]:
    """Return the first minute of the slot in which a job was there in a piece, and for how long in it and each that follows."""
    start, end = piece.start, piece.start + piece.length
    low = min(max(start, job.start_us - piece.to_mono), end)
    high = max(low, min(end, job.end_us - piece.to_mono))
    base = piece.slot * US_PER_S
    first, last = _minute(low - base), _minute(max(low, high - 1) - base)
    borders = [low, *(base + at * MINUTE_US for at in range(first + 1, last + 1)), high]
    return first, [after - before for before, after in zip(borders, borders[1:])]


def _minute(offset_us: int) -> int:
    """Return the minute of a slot, from 0; what a slewed clock puts outside of the slot is in its first or last one."""
    return min(COUNT - 1, max(0, offset_us // MINUTE_US))
