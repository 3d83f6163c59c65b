# SPDX-License-Identifier: MIT
"""Claims a host's meters: only one collector reads them, however many run on the host.

Two collectors with folders of their own (several slurmd on one host) would each book all that the meters count. The
claim is a lock on the folder that shows the counters, so hosts that are simulated side by side each have their own.
"""

from __future__ import annotations

import fcntl
import os

from .host import read_text

PLACES = ("class/powercap", "devices/system/cpu")
"""Folders of sysfs, the first of which that exists is locked."""


class Claim:
    """The claim on the meters of this host. `refusal` says why this collector does not read them, and is empty if it
    does.
    """

    def __init__(self, sysfs: str) -> None:
        self._fd = -1
        self.refusal = ""
        for place in PLACES:
            try:
                self._fd = os.open(f"{sysfs}/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            break
        self._try()

    def is_won(self) -> bool:
        """Return whether the claim was refused before and is granted now."""
        if not self.refusal:
            return False
        self._try()
        return not self.refusal

    def _try(self) -> None:
        if self._fd < 0:
            return
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.refusal = f"the meters of this host are read by another collector (process {self._holder()})"
        except OSError:
            self.refusal = ""  # a file system without locks: nobody can be told apart
        else:
            self.refusal = ""

    def _holder(self) -> str:
        """Return the process id of who has the lock, or a question mark."""
        return _locker(os.fstat(self._fd).st_ino) or "?"


def holder(sysfs: str) -> str:
    """Return the process id of the collector that reads the meters of this host; empty for none. Locks nothing."""
    there = next((path for path in (f"{sysfs}/{place}" for place in PLACES) if os.path.isdir(path)), "")
    return _locker(os.stat(there).st_ino) if there else ""


def _locker(inode: int) -> str:
    """Return the process id of who has the lock on a file (proc_locks(5)); empty for nobody."""
    for line in read_text("/proc/locks").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return fields[4]
    return ""
