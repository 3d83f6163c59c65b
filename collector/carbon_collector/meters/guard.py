# SPDX-License-Identifier: MIT
"""Runs a meter that may hang in a thread of its own, with a deadline, so that a dead driver delays no other meter.

A reading that arrives after the deadline is discarded, because it belongs to another instant. After one missed
deadline, readings do not wait for that answer again.
"""

from __future__ import annotations

import _thread
import time

from ..lean.typing import TYPE_CHECKING
from .base import Found, Reading

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 2.0
"""A driver that works answers in milliseconds; one that was unloaded needs a second or two to come back."""


class Guard:
    """Looks for a meter, and reads it, in its own thread. `found` is None while it is still looking."""

    def __init__(self, find: Callable[[], Found], components: tuple[str, ...]) -> None:
        self.found: Found | None = None
        self._components = components
        self._find = find
        self._question = _thread.allocate_lock()
        self._answer = _thread.allocate_lock()
        self._question.acquire()
        self._answer.acquire()
        self._readings: dict[str, Reading] = {}
        self._asked_s = time.monotonic()
        self._waiting = True
        self._late = False
        self._over = False
        _thread.start_new_thread(self._work, ())

    def ask(self) -> None:
        """Ask for a reading, unless the last question is still open."""
        if self._waiting and self._answer.acquire(False):
            self._waiting = False
        if not self._waiting:
            self._waiting = True
            self._late = False
            self._asked_s = time.monotonic()
            self._question.release()

    def wait(self, deadline_s: float) -> bool:
        """Wait for the open question's answer, at most until `deadline_s` on the monotonic clock."""
        if self._waiting and self._answer.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            self._waiting = False
        return not self._waiting

    def read(self, deadline_s: float) -> dict[str, Reading]:
        """Return the answer to `ask`, or unknown for every domain if there is none by `deadline_s`."""
        if not self._late and self.wait(deadline_s):
            return self._readings
        self._late = True
        reason = f"does not answer since {time.monotonic() - self._asked_s:.0f} s"
        meter = self.found.meter if self.found else None
        return {domain.name: Reading(None, reason) for domain in meter.domains} if meter else {}

    def end(self) -> None:
        """End the thread once it has answered: nothing is asked any more."""
        self._over = True
        if not self.wait(0.0):
            return  # it sees that it is over when it has answered
        self._question.release()

    def _work(self) -> None:
        self.found = self._look()
        self._answer.release()
        meter = self.found.meter
        while meter is not None and not self._over:
            asked = self._question.acquire(timeout=meter.sample_s or -1)
            if self._over:
                break
            try:
                if asked:
                    self._readings = meter.read()
                else:
                    meter.sample()
            except Exception as err:  # noqa: BLE001 - whatever a foreign library does ends here
                self._readings = {domain.name: Reading(None, f"failed: {err!r}") for domain in meter.domains}
            if asked:
                self._answer.release()
        if meter is not None:
            meter.close()

    def _look(self) -> Found:
        try:
            return self._find()
        except Exception as err:  # noqa: BLE001 - the same
            return Found(None, dict.fromkeys(self._components, f"failed: {err!r}"))
