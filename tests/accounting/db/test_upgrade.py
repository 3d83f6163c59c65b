# SPDX-License-Identifier: MIT
"""Databases that earlier schemas left behind are opened, upgraded, and hold the same figures."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from accounting.samples import configure
from carbon_acct.db import schema
from carbon_acct.db.checksum import figures
from carbon_acct.site import open_site
from carbon_collector import settings

UPGRADES = Path(__file__).parent / "upgrades"
"""NNNN.sql: a database of schema NNNN. NNNN.json: rows and checksum of each table, as the program of that day gave them."""


@pytest.mark.parametrize("dump", sorted(UPGRADES.glob("*.sql")), ids=lambda path: path.stem)
def test_figures_survive_an_upgrade(dump: Path, tmp_path: Path) -> None:
    """After the upgrade every table has the rows and the checksum that it had before it."""
    path = tmp_path / "carbon-acct.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(dump.read_text())
    connection.close()
    assert dump.stem < schema.newest()

    site = open_site(settings.load(str(configure(tmp_path))))
    with site.database.read() as session:
        found = {table: [figure.rows, f"{figure.sha256_sum:064x}"] for table, figure in figures(session).items()}
    site.database.close()

    assert found == json.loads(dump.with_suffix(".json").read_text())
