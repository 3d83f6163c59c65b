# SPDX-License-Identifier: MIT
"""Polls the power of the whole node slowly, in a thread of its own: a BMC answers in anything from milliseconds to
seconds, and has other work. Between two answers the last power is held.
"""

from __future__ import annotations

import _thread
import time

from ..lean.typing import NamedTuple
from .base import INTEGRATED, Domain, Meter, Reading
from .integral import now_us

HELD_PERIODS = 3
"""Number of periods for which a power is held before it is unknown."""
INSIDE = ("cpu", "dram", "gpu")
"""Components that a meter of the whole node contains."""


class Answer(NamedTuple):
    """The answer of a BMC: watts, or why there are none; and whether the BMC says that it measures."""

    watts: int
    reason: str
    is_active: bool = True


class Held:
    """The microjoules of a power that is seen now and then, and is held until it is seen again, at most for
    `longest_us`.
    """

    __slots__ = ("_at_us", "_gap", "_longest_us", "_seen_us", "_uj", "_watts")

    def __init__(self, longest_us: int) -> None:
        self._longest_us = longest_us
        self._uj = self._watts = self._at_us = 0
        self._seen_us = -longest_us - 1
        self._gap = False

    def is_fresh(self, now_us: int) -> bool:
        """Return whether the power is still known."""
        return now_us - self._seen_us <= self._longest_us

    def see(self, watts: int, now_us: int) -> None:
        """Note the power at a time of the monotonic clock."""
        if self.is_fresh(now_us):
            self._hold(now_us)
        elif self._seen_us >= 0:
            self._gap = True
        self._watts, self._at_us, self._seen_us = watts, now_us, now_us

    def energy_uj(self, now_us: int) -> int | None:
        """Return the energy so far, or None if the power is not known, or was not for some of the time since the last
        call.
        """
        if not self.is_fresh(now_us):
            return None
        self._hold(now_us)
        gap, self._gap = self._gap, False
        return None if gap else self._uj

    def _hold(self, now_us: int) -> None:
        self._uj += self._watts * max(0, now_us - self._at_us)  # W x us = uJ
        self._at_us = max(self._at_us, now_us)


class Polled(Meter):
    """A power that is polled every `period_s`. Reading it never waits."""

    def __init__(self, name: str, period_s: float, max_watts: int) -> None:
        super().__init__([Domain(name, "other", -1, 0, max_watts, INTEGRATED, False, INSIDE)])
        self.answer = Answer(0, "has not answered yet")
        self.is_over = False
        self.period_s = period_s
        self._name = name
        self._held = Held(int(HELD_PERIODS * period_s * 1e6))
        self._lock = _thread.allocate_lock()
        self._first = _thread.allocate_lock()
        self._first.acquire()
        _thread.start_new_thread(self._work, ())

    def ask(self) -> Answer:
        """Ask once, and return the answer; it may take some seconds."""
        raise NotImplementedError

    def wait(self, seconds: float) -> bool:
        """Wait for the first answer; return whether there is one by then."""
        return self._first.acquire(timeout=seconds)

    def read(self) -> dict[str, Reading]:
        """Return the energy so far; unknown where it has not been said for too long what the node draws."""
        with self._lock:
            energy_uj = self._held.energy_uj(now_us())
        reason = "" if energy_uj is not None else self.answer.reason or "power was not seen for some time"
        return {self._name: Reading(energy_uj, reason)}

    def _work(self) -> None:
        self._ask()
        self._first.release()
        while not self.is_over:
            time.sleep(self.period_s)
            if not self.is_over:
                self._ask()

    def _ask(self) -> None:
        try:
            answer = self.ask()
        except Exception as err:  # noqa: BLE001 - whatever a BMC says ends here
            answer = Answer(0, f"failed: {err!r}")
        with self._lock:
            self.answer = answer
            if not answer.reason:
                self._held.see(answer.watts, now_us())
