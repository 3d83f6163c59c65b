# SPDX-License-Identifier: MIT
"""Queries end in time, on every kind of database."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from carbon_acct.api.deadline import read_within
from carbon_acct.errors import RefusedError
from carbon_acct.site import Site

FOREVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
ENDLESS = {"sqlite": FOREVER, "postgresql": FOREVER, "mariadb": "SELECT SLEEP(60)"}
"""MariaDB ends a recursion by itself."""


@pytest.mark.each_kind
@pytest.mark.slow
def test_query_is_stopped(site: Site) -> None:
    """A query that takes too long is stopped in the database; the connection serves the next one, and writes as ever."""
    query = text(ENDLESS[site.database.engine.dialect.name])
    start = time.monotonic()
    with (
        pytest.raises(RefusedError, match=r"longer than 0\.2 s; ask for less") as err,
        read_within(site.database, 0.2) as s,
    ):
        s.execute(query)
    assert time.monotonic() - start < 30
    assert (err.value.status, err.value.kind) == (503, "deadline")
    for read in (lambda: read_within(site.database, 20), site.database.read, site.database.write):
        with read() as session:
            assert session.execute(text("SELECT 1")).scalar_one() == 1
