# SPDX-License-Identifier: MIT
"""The session of carbon-web on each kind of database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from accounting.samples import configure
from carbon_acct.errors import DatabaseError
from carbon_collector import settings
from carbon_reports.web.read_only import open_read_only

if TYPE_CHECKING:
    from pathlib import Path

    from accounting.db.fixtures import Backend


def test_the_database_itself_refuses_to_write(backend: Backend, tmp_path: Path) -> None:
    """No statement of carbon-web can change, add or make anything."""
    with backend.fresh() as url:
        database = open_read_only(settings.load(str(configure(tmp_path, aggregator_database=url))))
        try:
            for statement in ("DELETE FROM job", "UPDATE meta SET value = 'x'", "CREATE TABLE t (n INT)"):
                with pytest.raises(DatabaseError, match=r"readonly|read.only|READ ONLY"), database.read() as session:
                    session.execute(text(statement))
        finally:
            database.close()
