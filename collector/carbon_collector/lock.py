# SPDX-License-Identifier: MIT
"""One collector a node: a locked file that says by its process id whom prolog and epilog wake."""

from __future__ import annotations

import fcntl
import os
import time

PATIENCE_S = 5.0
"""A collector that is just leaving is waited for: the ticket that it missed is this one's."""


class Lock:
    """The file `collector.pid`. The lock is the truth; its content is the address."""

    def __init__(self, run_dir: str) -> None:
        self.path = f"{run_dir}/collector.pid"
        self._fd = -1

    def take(self) -> bool:
        """Take the lock and publish the process id; False where another collector has it."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + PATIENCE_S
        while not self._try():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        self.publish()
        return True

    def publish(self) -> None:
        """Let prolog and epilog find this process."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def hide(self) -> None:
        """From now on a prolog finds nobody, and starts another collector, which waits for the lock."""
        os.ftruncate(self._fd, 0)

    def is_whole(self) -> bool:
        """Whether the file is still this one: someone may have wiped the run directory."""
        try:
            return os.stat(self.path).st_ino == os.fstat(self._fd).st_ino
        except OSError:
            return False

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
