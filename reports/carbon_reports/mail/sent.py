# SPDX-License-Identifier: MIT
"""Remembers which messages of a month were sent, so that each is sent at most once, whenever the program is killed.

A file has a line of JSON for each event. A message is noted as begun before the server gets it, and as sent or refused
after the server's answer; every line is on the disk before the next step. Of a message that was begun and has no end,
nobody knows whether the server took it: it is not sent again by itself.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carbon_collector.errors import CarbonError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGUN, SENT, REFUSED, DEFERRED = "begun", "sent", "refused", "deferred"
FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class SentError(CarbonError):
    """What was sent cannot be read or written, or another program is sending."""


@dataclass
class Sent:
    """The last state of the message to each user, and the file that it is kept in."""

    path: Path
    fd: int
    states: dict[str, str]

    def note(self, user: str, state: str, now: int, answer: str = "") -> None:
        """Note the state of a user's message. It is on the disk when this returns. Raises SentError."""
        line = json.dumps({"user": user, "state": state, "time": now, "answer": answer}) + "\n"
        try:
            data = line.encode("ascii")
            while data:
                data = data[os.write(self.fd, data) :]
            os.fsync(self.fd)
        except OSError as err:
            raise SentError(f"{self.path}: {err.strerror}; it must be known what was sent") from err
        self.states[user] = state


@contextmanager
def opened(path: Path) -> Iterator[Sent]:
    """Yield what was sent, locked against other programs. Raises SentError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, FLAGS, 0o600)
    except OSError as err:
        raise SentError(f"{path}: {err.strerror}") from err
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SentError(f"{path}: another carbon-report is sending these messages") from None
        _sync_folder(path.parent)
        yield Sent(path, fd, _read(path, fd))
    finally:
        os.close(fd)


def states(path: Path) -> dict[str, str]:
    """Return the last state of the message to each user, without a lock and without a change. Raises SentError."""
    try:
        return _states(path, path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise SentError(f"{path}: {err.strerror}") from err


def _read(path: Path, fd: int) -> dict[str, str]:
    """Return the states, and cut off a line that a kill left torn: what it would have said had not happened yet, or is
    not known.
    """
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.ftruncate(fd, whole)
    return _states(path, data[:whole])


def _states(path: Path, data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            entry = json.loads(line)
            found[entry["user"]] = entry["state"]
        except (ValueError, KeyError, TypeError):
            raise SentError(f"{path}: line {number} cannot be read, so it is not known what was sent") from None
    return found


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
