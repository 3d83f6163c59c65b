# SPDX-License-Identifier: MIT
"""Stands in for `signal`: the C module `_signal`, without the `enum` and `functools` that the wrapper imports.

An interpreter other than CPython gets the standard module.
"""

from __future__ import annotations

from .typing import TYPE_CHECKING

__all__ = ["signal"]

if TYPE_CHECKING:
    import signal
else:
    try:
        import _signal as signal
    except ImportError:
        import signal
