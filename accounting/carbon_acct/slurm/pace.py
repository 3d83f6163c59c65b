# SPDX-License-Identifier: MIT
"""How much slurmdbd is asked for at once, and how long it is left alone after that. Pure.

slurmdbd is the whole site's: whatever it is slow for, the accounting of energy takes a tenth of its time at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from carbon_collector.units import DAY_S

LEAST_WINDOW_S = 900

SLOW_S = 20.0
"""A query that takes longer asked for too much at once."""

REST = 9.0
"""For each second of a query slurmdbd has so many without one."""

LONGEST_REST_S = 900.0


@dataclass(frozen=True)
class Pace:
    """`window_s`: the longest time that one query is about. `rest_s`: how long none is made after the last one."""

    window_s: int = DAY_S
    rest_s: float = 0.0

    def after(self, took_s: float, answered: bool = True) -> Pace:
        """The pace after a query: less and later if it was slow or failed, more again if it was quick."""
        window_s = self.window_s
        if not answered or took_s > SLOW_S:
            window_s = max(LEAST_WINDOW_S, window_s // 2)
        elif took_s < SLOW_S / 4:
            window_s = min(DAY_S, window_s * 2)
        return Pace(window_s, min(REST * took_s, LONGEST_REST_S))

    def within(self, longest_s: int | None) -> Pace:
        """No window longer than slurmdbd allows (MaxQueryTimeRange). None: it allows any."""
        return self if longest_s is None else replace(self, window_s=min(self.window_s, max(longest_s, 1)))
