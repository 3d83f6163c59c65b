# SPDX-License-Identifier: MIT
"""The accounting host's fixtures, for prices."""

from accounting.conftest import fresh_database, site

__all__ = ["fresh_database", "site"]
