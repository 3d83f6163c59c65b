# SPDX-License-Identifier: MIT
"""Reads the waiting tickets, oldest first and a bounded number a step, so that readings go on however many there are.

It decides nothing: arrivals.py opens and closes the ledgers.
"""

from __future__ import annotations

import os
import time

from . import ticket
from .lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .log import Log
    from .ticket import Ticket

AT_ONCE = 500
"""Tickets taken in between two readings: a few tenths of a second's work."""
PART = 4
"""A quarter as many as there are ledgers, if that is more: a reading takes time for each ledger anyway."""
PATIENCE_US = 60_000_000
"""A ticket that is not whole by then never will be."""


class Intake:
    """The tickets in `folder`."""

    def __init__(self, folder: str, log: Log) -> None:
        self.folder = folder
        self._log = log
        self._waiting: list[str] = []
        self._done: set[str] = set()

    def is_behind(self) -> bool:
        """Return whether tickets wait that were there at the last look already."""
        return bool(self._waiting)

    def take(self, node: str, ledgers: int = 0) -> list[Ticket]:
        """Return the next tickets, oldest first. `node` is the NodeName of those that have none.

        `ledgers` is how many there are already: it sets how many tickets may be taken in at once.
        """
        if not self._waiting:
            self._waiting = ticket.scan(self.folder)
            self._waiting.reverse()  # the oldest last, where taking it away costs nothing
        found: list[Ticket] = []
        for _ in range(min(max(AT_ONCE, ledgers // PART), len(self._waiting))):
            path = self._waiting.pop()
            one = None if path in self._done else self._read(path, node)
            if one is not None:
                found.append(one)
        return found

    def drop(self, path: str) -> None:
        """Remove a ticket; one that cannot be removed is not looked at again."""
        try:
            os.unlink(path)
            self._done.discard(path)
        except FileNotFoundError:
            pass  # the run directory was wiped
        except OSError as err:
            self._done.add(path)
            self._log.line(f"ticket {path} cannot be removed: {err}")

    def _read(self, path: str, node: str) -> Ticket | None:
        try:
            return ticket.read(path, node, time.time_ns() // 1000 - PATIENCE_US)
        except FileNotFoundError:
            return None  # removed by hand since the look
        except (OSError, ValueError) as err:
            self._log.line(f"ticket {path} cannot be used: {err}")
            self.drop(path)
            return None
