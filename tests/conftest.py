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

# `make check` takes the quick one; a property that fails there is shrunk and kept as in the full one. The long one is
# for an evening: HYPOTHESIS_PROFILE=long.
settings.register_profile("quick", max_examples=10, deadline=None)
settings.register_profile("full", max_examples=50, deadline=None)
settings.register_profile("long", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "full"))

SQL_IS_ELSEWHERE = ("tests/accounting/api/", "tests/accounting/cli/", "tests/accounting/estimate/", "tests/accounting/sync/",
                    "tests/accounting/delivery/test_forged.py", "tests/accounting/test_doctor.py")  # fmt: skip
"""Where tests are of what a program does with its answers: SQLite does, but for those marked `each_kind`.

The statements themselves are tested on each kind of database: in db, delivery, queries, sums and estimates.
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only root's credentials may deliver segments. KINDS=all runs every test on each kind of database that it can use."""
    for item in items:
        if "munge_socket" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.root)
    if os.environ.get("KINDS") != "all":
        left_out = [item for item in items if _is_sqlite_enough(item)]
        items[:] = [item for item in items if not _is_sqlite_enough(item)]
        config.hook.pytest_deselected(items=left_out)


def _is_sqlite_enough(item: pytest.Item) -> bool:
    """Whether this is the run on a server of a test that SQLite does for."""
    is_on_a_server = "backend" in getattr(item, "fixturenames", ()) and item.get_closest_marker("servers") is not None
    return is_on_a_server and item.nodeid.startswith(SQL_IS_ELSEWHERE) and item.get_closest_marker("each_kind") is None
