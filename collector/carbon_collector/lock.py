# SPDX-License-Identifier: MIT
"""Keeps a node to one collector: a locked file beside the state, and the process id where prolog and epilog look for
it.

The lock lies beside the state because it protects the state: two collectors on one state would write over each other's
segments. It does not lie in the run directory, which is deleted now and then.
"""

from __future__ import annotations

import fcntl
import os
import time

from .durable import remove
from .host import read_text
from .lean.signal import signal

COMM = "carbon-collector"
"""The name of the process. The kernel keeps 15 characters of it."""

PATIENCE_S = 5.0
"""The seconds to wait for a collector that is exiting. A ticket that it did not see is left to this one."""
POLL_S = 0.05
FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Lock:
    """The collector's lock: `collector.lock` beside the state says who runs, `collector.pid` in the run directory says
    where.
    """

    def __init__(self, state_dir: str, run_dir: str) -> None:
        self.path = f"{state_dir}/collector.lock"
        self.address = f"{run_dir}/collector.pid"
        self.trouble = f"{run_dir}/start.failed"
        self._fd = -1

    def take(self, patience_s: float = PATIENCE_S) -> bool:
        """Take the lock and publish the process id. Returns False if another collector holds the lock. Raises
        OSError.
        """
        self._fd = os.open(self.path, FLAGS, 0o600)
        deadline = time.monotonic() + patience_s
        while not self._try():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        self.publish()
        return True

    def take_over(self) -> None:
        """Take the lock, however long that takes, and tell the collector that holds it to end. Raises OSError.

        A service must not end because a prolog has already started a collector: that collector exits some time later,
        and then none would run.
        """
        patience_s = 0.0
        while not self.take(patience_s):
            os.close(self._fd)
            pid, patience_s = self.holder(), PATIENCE_S
            if pid:
                _terminate(pid)

    def holder(self) -> int:
        """Return the process id of the collector that holds the lock, as the run directory states it, or 0.

        A process counts only if it belongs to our own user and has a collector's name.
        """
        pid = read_text(self.address)
        if not pid.isdigit() or read_text(f"/proc/{pid}/comm") != COMM[:15]:
            return 0
        try:
            return int(pid) if os.stat(f"/proc/{pid}").st_uid == os.geteuid() else 0
        except OSError:
            return 0

    def publish(self) -> None:
        """Write the process id where prolog and epilog find it. Raises OSError."""
        self._write(f"{os.getpid()}\n".encode())
        remove(self.trouble)  # the prolog may complain again when no collector starts

    def hide(self) -> None:
        """Remove the process id. From now on a prolog starts another collector, which waits for the lock."""
        self._write(b"")

    def is_published(self) -> bool:
        """Return whether prolog and epilog still find this process: somebody may have deleted the run directory."""
        return read_text(self.address) == str(os.getpid())

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
