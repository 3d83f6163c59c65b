# SPDX-License-Identifier: MIT
"""Writes live energy: while a job runs, its owner can read its energy so far, and nobody else can.

It is one small file a job, version 2 of docs/record-format.md, "Live energy". The file has the totals of this job
alone, at the rate of readings and rounded to 0.1 J: docs/adr/0008 says what can be learned from them about others.
"""

from __future__ import annotations

import errno
import os
import time

from .durable import remove
from .lean import json
from .lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

VERSION = 2
ROUNDING_UJ = 100_000
"""Energies are rounded down to 0.1 J."""
CALM_S = 0.5
"""A file is not written again so soon: who has just opened it reads it to its end."""
ACCESS = "system.posix_acl_access"
USER_OBJ, USER, GROUP_OBJ, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
NOBODY_IN_PARTICULAR = 0xFFFFFFFF
"""Tags and the undefined id of linux/posix_acl.h and linux/posix_acl_xattr.h."""


class Live:
    """The files in `folder`, which users may enter but not list.

    Root owns a file, and an access control list lets the job's user read it. If he owned it, he could make it writable
    and fill the file system through it. A file is written beside its name and renamed over it, and its two inodes take
    turns, so that whoever holds old ones open keeps no memory.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        os.makedirs(folder, mode=0o711, exist_ok=True)
        os.chmod(folder, 0o711)  # noqa: S103 - the umask may have taken bits away; entering is not listing
        # What a collector that was killed has left stays readable until the first reading says what still runs.
        self._left = set(os.listdir(folder))
        self._owner_of: dict[str, int] = {}
        self._shown_s = float("-inf")
        self.sequence = 0

    def show(self, jobs: dict[str, tuple[int, dict[str, Any]]]) -> None:
        """Write the file of each job (JobID to user id and facts), remove all other files. Raises OSError."""
        for name in self._left - {f"{job}{end}" for job in jobs for end in (".json", ".ask")}:
            remove(f"{self.folder}/{name}")
        self._left = set()
        for job in [job for job, uid in self._owner_of.items() if job not in jobs or jobs[job][0] != uid]:
            del self._owner_of[job]
            remove(f"{self.folder}/{job}.json")
            remove(f"{self.folder}/{job}.json.next")
        now_s = time.monotonic()
        is_calm = now_s - self._shown_s >= CALM_S
        if is_calm:
            self._shown_s = now_s
        self.sequence += 1
        for job, (uid, facts) in jobs.items():
            if is_calm or job not in self._owner_of:
                self._write(job, uid, {"version": VERSION, "sequence": self.sequence, **facts})

    def _write(self, job: str, uid: int, facts: dict[str, Any]) -> None:
        path = f"{self.folder}/{job}.json"
        content = json.dumps(facts).encode() + b"\n"
        if job not in self._owner_of:
            remove(f"{path}.next")  # of a collector that was killed: it may be another user's
            _fill(f"{path}.next", content, uid)
            os.rename(f"{path}.next", path)
            self._owner_of[job] = uid
            return
        try:
            _fill(f"{path}.next", content, uid)
            os.link(path, f"{path}.last")
            os.rename(f"{path}.next", path)
            os.rename(f"{path}.last", f"{path}.next")
        except FileNotFoundError:
            del self._owner_of[job]  # the run directory was wiped
            raise


def component(energy_uj: int | None, static_uj: int, metered_us: int, held_us: int, method: str, reason: str) -> Any:
    """Return one component as the file has it. Energies in microjoules, times in microseconds.

    What is unknown is absent, with the reason beside it.
    """
    missing = {"missing": reason or "not read yet"} if metered_us < held_us or energy_uj is None else {}
    if energy_uj is None:
        return missing
    rounded = {"energy_uj": _rounded(energy_uj), "static_uj": _rounded(static_uj)}
    return {**rounded, "metered_us": metered_us, "method": method, **missing}


def _rounded(uj: int) -> int:
    return uj // ROUNDING_UJ * ROUNDING_UJ


def _fill(path: str, content: bytes, uid: int) -> None:
    """Write a file that this user may read; an existing one keeps its inode and its permissions."""
    flags, fresh = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, False
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        fd, fresh = os.open(path, flags | os.O_CREAT, 0o600), True
    try:
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))
        if fresh:
            _let_read(fd, uid)
    finally:
        os.close(fd)


def _let_read(fd: int, uid: int) -> None:
    """Let one more user read a file of ours; on a file system without access control lists it becomes his."""
    try:
        os.setxattr(fd, ACCESS, readable_by(uid))
    except OSError as err:
        if err.errno != errno.ENOTSUP:
            raise
        os.fchown(fd, uid, -1)


def readable_by(uid: int) -> bytes:
    """Return the access control list (acl(5)) by which this user may read, and nobody else but the owner."""
    write, read, nothing = 2, 4, 0
    entries = [
        (USER_OBJ, read | write, NOBODY_IN_PARTICULAR),
        (USER, read, uid),
        (GROUP_OBJ, nothing, NOBODY_IN_PARTICULAR),
    ]
    entries += [(MASK, read, NOBODY_IN_PARTICULAR), (OTHER, nothing, NOBODY_IN_PARTICULAR)]
    packed = [t.to_bytes(2, "little") + p.to_bytes(2, "little") + u.to_bytes(4, "little") for t, p, u in entries]
    return (2).to_bytes(4, "little") + b"".join(packed)
