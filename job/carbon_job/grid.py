# SPDX-License-Identifier: MIT
"""Keeps the grid's intensities up to date during a run: a thread fetches them every quarter of an hour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .carbon import Series
from .place import Place

NO_AGGREGATOR = "no aggregator is known (CARBON_ACCT_AGGREGATORS)"
REFRESH_S = 900.0
FIRST_WAIT_S = 1.0


class Grid:
    """The intensities of one run. If `fixed` (g/kWh) is given it is used for all slots, and no aggregator is asked for any.

    `also` is called after each answer, in the thread that asks.
    """

    def __init__(
        self,
        place: Place,
        zone: str,
        fixed: float | None,
        pue: float | None,
        say: Callable[[str], None],
        also: Callable[[], None] | None = None,
    ) -> None:
        self.pue = pue or place.pue or 1.0
        self.series = Series(fixed=fixed, pue=self.pue)
        self._place, self._zone, self._fixed, self._say, self._also = place, zone, fixed, say, also
        self._begin_s = time.time()
        self._stopped = threading.Event()
        self._first = threading.Event()
        self._said = False
        self.missing = "" if fixed is not None or place.aggregators else NO_AGGREGATOR
        """Why no intensity can be known, which is said in the last line of the run; empty if one may be."""
        if place.aggregators and (fixed is None or also is not None):
            threading.Thread(target=self._follow, name="carbon_job grid", daemon=True).start()
        else:
            self._first.set()

    def stop(self) -> None:
        """Stop asking."""
        self._stopped.set()

    def wait(self) -> None:
        """Wait a moment for the first answer: a run may be shorter than a question."""
        self._first.wait(FIRST_WAIT_S)

    def _follow(self) -> None:
        from . import aggregator

        while not self._stopped.is_set():
            try:
                if self._fixed is None:
                    self.series = Series(aggregator.intensities(self._place, self._begin_s, self._zone), pue=self.pue)
                if self._also is not None:
                    self._also()
            except Exception as err:  # noqa: BLE001 - no answer costs the grams, and no more
                if not self._said:
                    self._said = True
                    self._say(f"no carbon, energy only: {err}")
            self._first.set()
            self._stopped.wait(REFRESH_S)
