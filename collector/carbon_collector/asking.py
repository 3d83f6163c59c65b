# SPDX-License-Identifier: MIT
"""Serves the FIFO beside each live file, by which a job's owner asks for a new reading at once.

A byte in `<JobID>.ask` makes the kernel send the collector the signal that prolog and epilog send as well (F_SETSIG).
So the collector waits for one thing only. The file's permission is the whole access control. The rate of such readings
is bounded for the whole node, and a user who floods his FIFO gains nothing by it.
"""

from __future__ import annotations

import fcntl
import os
import time

from .durable import remove
from .lean.signal import signal

WAKE = signal.SIGURG
"""Signal that wakes the collector (docs/adr/0003)."""
MODE = 0o200
MAX_BYTES = 1 << 16
"""Bytes taken from a FIFO at once: as many as it holds by default (pipe(7))."""


class Asking:
    """The FIFOs in the live files' folder. `refresh_s` is the least time between two steps that were asked for.

    An infinite `refresh_s` makes no FIFOs.
    """

    def __init__(self, folder: str, refresh_s: float) -> None:
        self.folder = folder
        self.refresh_s = refresh_s
        self._doors: dict[str, tuple[int, int]] = {}
        self._shut = False
        self._stepped_s = float("-inf")

    def keep(self, owners: dict[str, int]) -> None:
        """Have a FIFO for each of these jobs (JobID to user id), and for no other. Raises OSError."""
        if self.refresh_s == float("inf"):
            return
        for job in self._doors.keys() - owners.keys():
            self._remove(job)
        for job in owners.keys() - self._doors.keys():
            self._make(job, owners[job])

    def may_step(self) -> bool:
        """Return whether somebody who asks now gets a step now.

        If not, no byte wakes the collector any more until the time has come: `due_s` says when.
        """
        if self._shut or time.monotonic() - self._stepped_s < self.refresh_s:
            self._arm(False)
            return False
        return True

    def due_s(self) -> float:
        """Return in how many seconds a step is owed to somebody who asked too soon; infinity if to nobody."""
        return self._stepped_s + self.refresh_s - time.monotonic() if self._shut else float("inf")

    def stepped(self) -> None:
        """Note that a step was taken: whoever has asked has his answer, and the next may ask."""
        self._stepped_s = time.monotonic()
        if self._shut:
            self._arm(True)
        for reader, _ in self._doors.values():
            _drain(reader)

    def _arm(self, armed: bool) -> None:
        """Choose whether bytes in a FIFO wake the collector."""
        if self._shut == armed:
            for reader, _ in self._doors.values():
                fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK | (os.O_ASYNC if armed else 0))
        self._shut = not armed

    def _make(self, job: str, uid: int) -> None:
        path = f"{self.folder}/{job}.ask"
        remove(path)  # a collector that was killed has left it
        os.mkfifo(path, MODE)
        reader = writer = -1
        try:
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            # A write end of our own keeps the FIFO from ending with each asker. It is another descriptor than the one
            # that wakes us: one that is open for both would wake us for ever.
            writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            fcntl.fcntl(reader, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(reader, fcntl.F_SETSIG, WAKE)
            fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK | (0 if self._shut else os.O_ASYNC))
            os.chown(path, uid, -1)
        except OSError:
            for fd in (reader, writer):
                if fd >= 0:
                    os.close(fd)
            remove(path)
            raise
        self._doors[job] = (reader, writer)

    def _remove(self, job: str) -> None:
        for fd in self._doors.pop(job):
            os.close(fd)
        remove(f"{self.folder}/{job}.ask")


def _drain(reader: int) -> None:
    try:
        os.read(reader, MAX_BYTES)
    except BlockingIOError:
        pass  # nobody has asked here
