# SPDX-License-Identifier: MIT
"""The accounting host's fixtures, for its fuzzers."""

from accounting.conftest import fresh_database, munge_socket, poller, site, slurm

__all__ = ["fresh_database", "munge_socket", "poller", "site", "slurm"]
