# SPDX-License-Identifier: MIT
"""The accounting host's fixtures, for its fuzzers, on SQLite alone: what is fuzzed is in front of the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from accounting.conftest import munge_socket, poller, slurm
from accounting.db.fixtures import Backend

__all__ = ["munge_socket", "poller", "slurm"]


@pytest.fixture(scope="session")
def backend(fresh_database: Path) -> Backend:
    """SQLite."""
    return Backend(fresh_database)
