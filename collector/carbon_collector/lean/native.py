# SPDX-License-Identifier: MIT
"""Signals and sockets without `enum`, `selectors` and `functools`, which their wrappers bring: 0.8 MiB together."""

from __future__ import annotations

from .named import TYPE_CHECKING

__all__ = ["signal", "socket"]

if TYPE_CHECKING:
    import signal
    import socket
else:
    try:
        import _signal as signal
        import _socket as socket
    except ImportError:  # another interpreter than CPython
        import signal
        import socket
