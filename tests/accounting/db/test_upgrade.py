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

WIDENED = ("day_sum", "job", "job_day", "job_slot", "node_job_slot")
"""Tables that got columns since: their rows have another text."""
RENAMED = {"price_id": "factor_id"}


@pytest.mark.parametrize("dump", sorted(UPGRADES.glob("*.sql")), ids=lambda path: path.stem)
def test_figures_survive_an_upgrade(dump: Path, tmp_path: Path) -> None:
    """After the upgrade every table has the rows and the checksum that it had before it, but for those that got columns."""
    path = tmp_path / "carbon-acct.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(dump.read_text())
    connection.close()
    assert dump.stem < schema.newest()

    site = open_site(settings.load(str(configure(tmp_path))))
    with site.database.read() as session:
        found = {table: [figure.rows, f"{figure.sha256_sum:064x}"] for table, figure in figures(session).items()}
    site.database.close()

    expected = json.loads(dump.with_suffix(".json").read_text())
    assert {t: f for t, f in found.items() if t not in WIDENED} == {
        t: f for t, f in expected.items() if t not in WIDENED
    }


@pytest.mark.parametrize("dump", sorted(UPGRADES.glob("*.sql")), ids=lambda path: path.stem)
def test_widened_tables_keep_their_figures(dump: Path, tmp_path: Path) -> None:
    """Tables that got columns hold what they held in the others, and roll-ups by state add up to those without."""
    path = tmp_path / "carbon-acct.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(dump.read_text())
        names = {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in WIDENED}
        before = {table: _held(connection, table, names[table]) for table in WIDENED}
    connection.close()
    assert any(before.values())

    open_site(settings.load(str(configure(tmp_path)))).database.close()

    with sqlite3.connect(path) as connection:
        now = {table: [RENAMED.get(name, name) for name in names[table]] for table in WIDENED}
        assert {table: _held(connection, table, now[table]) for table in WIDENED} == before
        states = "SELECT DISTINCT CASE WHEN state LIKE 'CANCELLED%' THEN 'CANCELLED' ELSE state END FROM job"
        states += " WHERE id IN (SELECT job_id FROM job_day) ORDER BY 1"
        rolled = connection.execute("SELECT DISTINCT state FROM day_sum ORDER BY 1").fetchall()
        assert rolled == connection.execute(states).fetchall()
        firsts = connection.execute("SELECT SUM(first_jobs) FROM day_sum").fetchone()
        assert firsts == connection.execute("SELECT COUNT(DISTINCT job_id) FROM job_day").fetchone()
    connection.close()


def _held(connection: sqlite3.Connection, table: str, names: list[str]) -> list[tuple[object, ...]]:
    """Return the rows of a table by these columns; those of roll-ups added up over states."""
    columns = [f'"{name}"' for name in names]
    if table == "day_sum":
        columns = [*columns[:2], *(f"SUM({name})" for name in columns[2:])]
        return connection.execute(f"SELECT {', '.join(columns)} FROM day_sum GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
    return connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2").fetchall()
