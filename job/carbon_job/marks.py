# SPDX-License-Identifier: MIT
"""Reads and writes marks, by which a program in any language reports to carbon-track: lines on a pipe that it inherits.

A line is `epoch`, `step N` or `phase NAME`. A Unix time in microseconds may follow, for a writer that knows the time
better than the reader: `epoch @1764400000123456`. `echo epoch >&$CARBON_TRACK_FD` writes a mark.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping

from .lean import NamedTuple

FD = "CARBON_TRACK_FD"
PIPE = "CARBON_TRACK_PIPE"
"""The variable that names the pipe, as `PID:device:inode`: a program may have closed the descriptor and opened a file
of its own there.
"""
KINDS = ("epoch", "step", "phase", "end", "pause", "resume")
MOST_BYTES = 512
"""The most bytes of a line, which is then written in one piece (PIPE_BUF, POSIX)."""


class Line(NamedTuple):
    """A mark as it was written."""

    kind: str
    value: str
    time_us: float | None


def parse(text: str) -> Line | None:
    """Return the mark in a line, or None for a line that is no mark."""
    words = text.split()
    time_us = None
    if words and words[-1].startswith("@") and words[-1][1:].isdigit():
        time_us = float(words.pop()[1:])
    if not words or words[0] not in KINDS:
        return None
    value = " ".join(words[1:])
    if words[0] == "step":
        try:
            value = str(float(value or 1))
        except ValueError:
            return None
    return Line(words[0], value, time_us)


def environment(fd: int) -> dict[str, str]:
    """Return the variables that describe the pipe to a program; `fd` is the pipe's writing end."""
    pipe = os.fstat(fd)
    return {FD: str(fd), PIPE: f"{os.getpid()}:{pipe.st_dev}:{pipe.st_ino}"}


def send(kind: str, value: str, environ: Mapping[str, str] | None = None) -> bool:
    """Write a mark to the pipe of the carbon-track around this program. Returns False if there is none."""
    now_us = time.time_ns() // 1000
    fd, opened = _find(os.environ if environ is None else environ)
    if fd is None:
        return False
    line = f"{kind} {' '.join(value.split())}".encode()[: MOST_BYTES - 32] + f" @{now_us}\n".encode()
    try:
        os.write(fd, line)
    except OSError:
        return False
    finally:
        if opened:
            os.close(fd)
    return True


def _find(env: Mapping[str, str]) -> tuple[int | None, bool]:
    """Return the pipe's descriptor, and whether it was opened here because the program had closed the one that it
    inherited.
    """
    fd, parts = env.get(FD, ""), env.get(PIPE, "").split(":")
    if not fd.isdigit() or len(parts) != 3 or not all(part.isdigit() for part in parts):
        return None, False
    identity = int(parts[1]), int(parts[2])
    if _is_pipe(int(fd), identity):
        return int(fd), False
    try:
        opened = os.open(f"/proc/{parts[0]}/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None, False
    if _is_pipe(opened, identity):
        return opened, True
    os.close(opened)
    return None, False


def _is_pipe(fd: int, identity: tuple[int, int]) -> bool:
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return stat.S_ISFIFO(found.st_mode) and (found.st_dev, found.st_ino) == identity
