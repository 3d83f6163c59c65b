# SPDX-License-Identifier: MIT
"""Writes the collector's messages to standard error (the journal), or to syslog if a prolog started the collector.

A sensor that is absent or a network that is down is reported once, not at every reading.
"""

from __future__ import annotations

import os
import sys
import time

from .lean.socket import socket

SYSLOG = "/dev/log"
DAEMON_NOTICE = 3 * 8 + 5
"""The priority of a message to syslog: facility daemon, severity notice (RFC 3164)."""
MAX_FILE = 1 << 18


class Log:
    """The log: one line for each event. `fallback` is a file for hosts without syslog, started again at 256 KiB."""

    def __init__(self, fallback: str) -> None:
        self.fallback = fallback
        self._said: set[str] = set()
        self._to_stderr = not _is_null(2)

    def line(self, message: str) -> None:
        """Write a message now. Control characters in it become `?`."""
        text = "".join(c if c.isprintable() else "?" for c in message)
        if not (self._to_stderr and _print(text)) and not _syslog(text):
            self._write(text)

    def once(self, key: str, message: str) -> None:
        """Write a message, unless one with this key was written since the key was last `over`."""
        if key not in self._said:
            self._said.add(key)
            self.line(message)

    def over(self, key: str, message: str) -> None:
        """Write that the trouble with this key is over, if it was reported. The next one is reported again."""
        if key in self._said:
            self._said.discard(key)
            self.line(message)

    def _write(self, text: str) -> None:
        try:
            fresh = os.stat(self.fallback).st_size > MAX_FILE
        except OSError:
            fresh = False
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if fresh else os.O_APPEND)
            fd = os.open(self.fallback, flags, 0o600)
        except OSError:
            return  # nowhere to say it; accounting goes on
        try:
            os.write(fd, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n".encode())
        except OSError:
            return
        finally:
            os.close(fd)


def _print(text: str) -> bool:
    try:
        print(f"carbon-collector: {text}", file=sys.stderr, flush=True)
    except OSError:
        return False  # whoever listened is gone, or the disk is full
    return True


def _is_null(fd: int) -> bool:
    try:
        return os.fstat(fd).st_rdev == os.stat(os.devnull).st_rdev
    except OSError:
        return True


def _syslog(text: str) -> bool:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.sendto(f"<{DAEMON_NOTICE}>carbon-collector[{os.getpid()}]: {text}".encode()[:1024], SYSLOG)
    except OSError:
        return False
    finally:
        sock.close()
    return True
