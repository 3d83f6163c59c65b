# SPDX-License-Identifier: MIT
"""Makes the packages of this folder (`slurm`, `simulator`) importable, and says how hard properties are tried."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from accounting.db.fixtures import backend, fresh_database, mariadb, postgresql, site

__all__ = ["backend", "fresh_database", "mariadb", "postgresql", "site"]

# `make check` takes the quick one; a property that fails there is shrunk and kept as in the full one.
settings.register_profile("quick", max_examples=10, deadline=None)
settings.register_profile("full", max_examples=100, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "full"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only root's credentials may deliver segments."""
    for item in items:
        if "munge_socket" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.root)
