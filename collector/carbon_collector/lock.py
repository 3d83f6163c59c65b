# SPDX-License-Identifier: MIT
"""One collector a node: a locked file beside the state, and its process id where prolog and epilog look for it.

The lock lies with what it guards. The run directory is wiped now and then, and two collectors on one state
would write over each other's segments.
"""

from __future__ import annotations

import fcntl
import os
import time

from .durable import remove
from .host import read_text
from .lean.signal import signal

COMM = "carbon-collector"
"""Name of the process. The kernel keeps 15 characters of it."""

PATIENCE_S = 5.0
"""A collector that is just leaving is waited for: the ticket that it missed is this one's."""
POLL_S = 0.05
FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Lock:
    """`collector.lock` in the state's folder is the truth; `collector.pid` in the run directory is the address."""

    def __init__(self, state_dir: str, run_dir: str) -> None:
        self.path = f"{state_dir}/collector.lock"
        self.address = f"{run_dir}/collector.pid"
        self.trouble = f"{run_dir}/start.failed"
        self._fd = -1

    def take(self, patience_s: float = PATIENCE_S) -> bool:
        """Take the lock and publish the process id; False where another collector has it. Raises OSError."""
        self._fd = os.open(self.path, FLAGS, 0o600)
        deadline = time.monotonic() + patience_s
        while not self._try():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        self.publish()
        return True

    def take_over(self) -> None:
        """Take the lock, however long that takes; whoever has it is told to end. Raises OSError.

        A service that is started beside a collector that a prolog has started must not end because of it: that one
        leaves some time later, and none would run.
        """
        patience_s = 0.0
        while not self.take(patience_s):
            os.close(self._fd)
            pid, patience_s = self.holder(), PATIENCE_S
            if pid:
                _terminate(pid)

    def holder(self) -> int:
        """Return the process id of the collector that has the lock, as far as the run directory tells; 0 for none.

        Only a process of our own user that has a collector's name counts.
        """
        pid = read_text(self.address)
        if not pid.isdigit() or read_text(f"/proc/{pid}/comm") != COMM[:15]:
            return 0
        try:
            return int(pid) if os.stat(f"/proc/{pid}").st_uid == os.geteuid() else 0
        except OSError:
            return 0

    def publish(self) -> None:
        """Let prolog and epilog find this process. Raises OSError."""
        self._write(f"{os.getpid()}\n".encode())
        remove(self.trouble)  # the prolog may complain again when no collector starts

    def hide(self) -> None:
        """From now on a prolog finds nobody, and starts another collector, which waits for the lock."""
        self._write(b"")

    def is_published(self) -> bool:
        """Whether prolog and epilog still find this process: someone may have wiped the run directory."""
        try:
            with open(self.address, "rb") as file:
                return file.read(32) == f"{os.getpid()}\n".encode()
        except OSError:
            return False

    def _write(self, content: bytes) -> None:
        fd = os.open(self.address, FLAGS, 0o644)
        try:
            os.pwrite(fd, content, 0)  # before the file is cut: nobody finds it empty
            os.ftruncate(fd, len(content))
        finally:
            os.close(fd)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has ended meanwhile
