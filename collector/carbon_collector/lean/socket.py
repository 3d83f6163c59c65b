# SPDX-License-Identifier: MIT
"""Stands in for `socket`: the C module `_socket`, without the `enum` and `selectors` that the wrapper imports.

With the signals' wrapper they would cost 0.8 MiB. An interpreter other than CPython gets the standard module.
"""

from __future__ import annotations

from .typing import TYPE_CHECKING

__all__ = ["socket"]

if TYPE_CHECKING:
    import socket
else:
    try:
        import _socket as socket
    except ImportError:
        import socket
