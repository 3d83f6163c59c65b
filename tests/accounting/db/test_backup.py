# SPDX-License-Identifier: MIT
"""What is copied is the same: backups, restores, the file that is kept before an upgrade, and carbon-mgr's checksum."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from accounting.db.fixtures import Backend
from accounting.db.test_database import migrate
from accounting.delivery.test_many_deliver import alone, figure, take
from accounting.samples import JOB, configure, job, job_slot, ledger, new_site, node_slot, segment, share
from carbon_acct.cli import mgr
from carbon_acct.db import schema
from carbon_acct.db.engine import Database
from carbon_acct.errors import SchemaError

EVENTS = [
    JOB,
    job(
        job_id_raw=8, job_id="8", user="b'ob 🌡 ", name="x\ufffd; DROP TABLE job", start=None, end=None, state="PENDING"
    ),
    segment([ledger(), job_slot({"cpu": share(10**12 + 7), "dram": share(None)}), node_slot(), b"{}"]),
    segment([job_slot(job_id=99)], sequence=2),
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs carbon-mgr on a database; status, output, errors."""

    def call(url: str, *args: str) -> tuple[int, str, str]:
        found = mgr.main(["--config", str(configure(tmp_path, aggregator_database=url)), *args])
        said = capsys.readouterr()
        return found, said.out, said.err

    return call


@pytest.mark.slow
def test_backup_and_restore(backend: Backend, fresh_database: Path, tmp_path: Path, run: Run) -> None:
    """A backup, and what is restored from it, have the checksum of the original; and rows go on from there."""
    backup = tmp_path / "backup.db"
    with backend.fresh() as url, backend.empty() as other:
        site = new_site(tmp_path, aggregator_database=url)
        for event in EVENTS:
            take(site, event)
        site.database.close()
        original = run(url, "checksum")[1].strip()
        assert run(url, "backup", str(backup))[0] == 0
        assert run(url, "backup", str(backup))[2].endswith("a backup is a new file\n")
        assert run(f"sqlite:///{backup}", "checksum")[1].strip() == original
        assert run(other, "restore", str(backup))[0] == 0
        assert run(other, "checksum")[1].strip() == original
        assert "into an empty database" in run(other, "restore", str(backup))[2]
        site = new_site(tmp_path, aggregator_database=other)
        later = [segment([ledger(), job_slot()], node="n2"), job(job_id_raw=10, job_id="10", user="carol")]
        for event in later:
            take(site, event)
        grown = figure(site)
        site.database.close()

    assert backup.stat().st_mode & 0o077 == 0
    assert original == alone(fresh_database, EVENTS)
    assert grown == alone(fresh_database, [*EVENTS, *later])


def test_checksum_of_tables(backend: Backend, tmp_path: Path, run: Run) -> None:
    """Each table has a figure of its own; one more microjoule anywhere makes another checksum."""
    with backend.fresh() as url:
        site = new_site(tmp_path, aggregator_database=url)
        for event in EVENTS:
            take(site, event)
        before = figure(site)
        lines = run(url, "checksum", "--tables")[1].splitlines()
        take(site, segment([node_slot(revision=2, elapsed_us=900_000_001)], sequence=9))
        after = figure(site)
        site.database.close()

    assert [line.split()[1:] for line in lines if line.endswith(" ledger")] == [["2", "ledger"]]
    assert lines[-1] == before
    assert after != before


def test_an_older_file_is_copied_first(tmp_path: Path) -> None:
    """The aggregator upgrades a file by itself, and leaves beside it what it was."""
    file = tmp_path / "carbon-acct.db"
    migrate(f"sqlite:///{file}", "0002")
    site = new_site(tmp_path)
    found = site.database.schema()
    site.database.close()
    copy = tmp_path / f"carbon-acct.db.before-{schema.newest()}"

    assert found == schema.newest()
    assert sqlite3.connect(copy).execute("SELECT version_num FROM alembic_version").fetchone() == ("0002",)
    assert copy.stat().st_mode & 0o077 == 0


def test_upgrade(backend: Backend, tmp_path: Path, run: Run) -> None:
    """A server's older database is refused by the aggregator, and changed by carbon-mgr when there is a backup."""
    with backend.empty() as url:
        migrate(url, "0002")
        if backend.kind != "sqlite":
            with pytest.raises(SchemaError, match="carbon-mgr upgrade"):
                new_site(tmp_path, aggregator_database=url)
            refused = run(url, "upgrade")
            assert (refused[0], refused[2].count("\n")) == (1, 1)
            assert "--backed-up" in refused[2]
        found = run(url, "upgrade", "--backed-up")
        assert found[0] == 0
        assert f"its schema was 0002, and is {schema.newest()}" in found[1]
        assert "nothing to do" in run(url, "upgrade")[1]
        site = new_site(tmp_path, aggregator_database=url)
        take(site, JOB)
        site.database.close()


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "newer than this program's"),
        ("", "tables of something else"),
    ],
)
def test_refused(backend: Backend, statement: str, reason: str) -> None:
    """A database of a newer release, and one that belongs to another program, are refused in one line, and not touched."""
    with backend.empty() as url:
        database = Database(url)
        if statement:
            database.open()
        with database.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql(statement or "CREATE TABLE cluster_table (id INTEGER)")
        again = Database(url)
        with pytest.raises(SchemaError, match=reason):
            again.open()
        again.close()
        database.close()
