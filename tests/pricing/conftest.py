# SPDX-License-Identifier: MIT
"""The accounting host's fixtures, for prices."""

from accounting.conftest import site

__all__ = ["site"]
