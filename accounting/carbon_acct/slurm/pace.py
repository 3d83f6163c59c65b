# SPDX-License-Identifier: MIT
"""Decides how much slurmdbd is asked for at once, and how long it is left alone after that. Pure.

slurmdbd serves the whole site. Whatever makes it slow, the accounting of energy takes at most a tenth of its time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from carbon_collector.units import DAY_S

LEAST_WINDOW_S = 900

SLOW_S = 20.0
"""The seconds after which a query has asked for too much at once."""

REST = 9.0
"""The seconds without a query after each second of a query."""

LONGEST_REST_S = 900.0


@dataclass(frozen=True)
class Pace:
    """The limits of the next query: `window_s` is the longest time it may be about, `rest_s` the pause before it."""

    window_s: int = DAY_S
    rest_s: float = 0.0

    def after(self, took_s: float, answered: bool = True) -> Pace:
        """Return the pace after a query: shorter windows and longer rests if it was slow or failed, longer windows if
        it was quick.
        """
        window_s = self.window_s
        if not answered or took_s > SLOW_S:
            window_s = max(LEAST_WINDOW_S, window_s // 2)
        elif took_s < SLOW_S / 4:
            window_s = min(DAY_S, window_s * 2)
        return Pace(window_s, min(REST * took_s, LONGEST_REST_S))

    def within(self, longest_s: int | None) -> Pace:
        """Return the pace with no window longer than slurmdbd allows (MaxQueryTimeRange). None: it allows any."""
        return self if longest_s is None else replace(self, window_s=min(self.window_s, max(longest_s, 1)))
