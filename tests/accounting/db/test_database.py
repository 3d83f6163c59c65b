# SPDX-License-Identifier: MIT
"""The database itself: its schema, its transactions, and what a crash leaves."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from accounting.db.fixtures import Backend
from accounting.samples import NOW, SLOT, configure, job_slot, ledger, new_site, segment
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.db import connect, engine, meta, schema
from carbon_acct.db.engine import Database
from carbon_acct.db.models import Base
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.errors import DatabaseError
from carbon_acct.queries import totals
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.jobs import list_jobs
from carbon_acct.site import Site, open_site
from carbon_acct.sums import rebuild
from carbon_collector import settings


def migrate(url: str, target: str) -> None:
    """Run the migrations up to `target` on a database."""
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with database.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, target)
    database.close()


def test_migrations_make_the_models(backend: Backend) -> None:
    """The migrations leave the very schema that the models describe, from which an empty database is made."""
    with backend.empty() as url:
        migrate(url, "head")
        database = Database(url)
        with database.engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        database.close()


def test_each_migration_is_named_by_its_schema() -> None:
    """By the names of these files a program knows its own schema and those that it can bring up to date."""
    scripts = ScriptDirectory(schema.MIGRATIONS)
    found = {script.revision: Path(script.path).name.partition("_")[0] for script in scripts.walk_revisions()}
    assert found
    assert all(revision == name for revision, name in found.items())
    assert schema.newest() == scripts.get_current_head()


@pytest.mark.slow
def test_a_program_that_finds_its_tables_loads_neither_alembic_nor_a_client_of_http(tmp_path: Path) -> None:
    """They take as long to load as SQLAlchemy, and only who makes the tables or asks a provider needs them."""
    new_site(tmp_path).database.close()
    code = """
import sys
from carbon_acct.site import open_site
from carbon_collector import settings
open_site(settings.load(sys.argv[1])).database.close()
print(sorted({"alembic", "httpx", "sqlalchemy"} & set(sys.modules)))
"""
    command_line = [sys.executable, "-c", code, str(tmp_path / "carbon-acct.conf")]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['sqlalchemy']\n", "")


def test_an_error_stores_nothing(site: Site) -> None:
    """A transaction that fails half-way leaves nothing of itself."""

    def half() -> None:
        with site.database.write() as session:
            store_segment(session, parse_segment(segment([ledger(), job_slot()]), NOW), site.terms, NOW)
            raise KeyError("half-way")

    with pytest.raises(KeyError, match="half-way"):
        half()
    with site.database.read() as session:
        assert totals.counts(session) == totals.Counts(0, 0, 0, 0)


def test_writers_wait_for_each_other(site: Site) -> None:
    """A writer that finds the database taken waits; it does not fail."""
    entered = threading.Event()

    def hold() -> None:
        with site.database.write() as session:
            meta.put(session, meta.DERIVED, "x")
            entered.set()
            time.sleep(0.5)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    with site.database.read() as session:
        assert meta.get(session, meta.DERIVED) == rebuild.VERSION
    with site.database.write() as session:
        assert meta.get(session, meta.DERIVED) == "x"
    thread.join()


CRASH = """
import os, sys
sys.path.insert(0, sys.argv[2])
from accounting.samples import NOW, job_slot, ledger, segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.site import open_site
from carbon_collector import settings
from accounting.db.fixtures import Backend
site = open_site(settings.load(sys.argv[1]))
for sequence in range(1, 1000):
    body = segment([ledger(revision=sequence), job_slot(revision=sequence)], sequence=sequence)
    with site.database.write() as session:
        store_segment(session, parse_segment(body, NOW), site.terms, NOW)
    print(sequence, flush=True)
"""


@pytest.mark.slow
def test_killed(tmp_path: Path) -> None:
    """Every segment that was acknowledged before a kill is there after it, and half of none."""
    config = configure(tmp_path)
    command = [sys.executable, "-c", CRASH, str(config), str(Path(__file__).parents[2])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = 0
        while acknowledged < 20:
            acknowledged = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split()
    acknowledged = int(rest[-1]) if rest else acknowledged
    site = open_site(settings.load(str(config)))
    with site.database.read() as session:
        stored = totals.counts(session).segments
        assert session.scalar(text("SELECT revision FROM node_job_slot")) == stored
    site.database.close()
    assert stored in (acknowledged, acknowledged + 1)


def test_a_database_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file lies where it was before, nothing begins anew beside it, and one line says what to do; [aggregator] database is free."""
    conf = tmp_path / "carbon-acct.conf"
    conf.write_text("[site]\nzone = DE\n")
    before, here = tmp_path / "before", tmp_path / "here"
    for folder in (before, here):
        folder.mkdir()
    monkeypatch.setattr(connect, "DEFAULT_FILE", str(here / "carbon-acct.db"))
    monkeypatch.setattr(connect, "FILE_BEFORE", str(before / "carbon-acct.db"))
    (before / "carbon-acct.db").write_bytes(b"")
    with pytest.raises(DatabaseError, match=rf"still {before}/carbon-acct\.db: stop .*, move .* to {here}/ and chown"):
        engine.open_database(settings.load(str(conf)))
    assert list(here.iterdir()) == []
    (before / "carbon-acct.db").rename(here / "carbon-acct.db")
    engine.open_database(settings.load(str(conf))).close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_needs_a_file(url: str) -> None:
    """In memory each connection would have a database of its own."""
    with pytest.raises(DatabaseError, match=r"SQLite needs a file: sqlite:////PATH/carbon-acct\.db"):
        Database(url)


def test_a_factor_is_kept_once(tmp_path: Path) -> None:
    """A zone's factor is stored with its source when a slot first uses it, and once; another zone adds its own."""
    for slot, zone in ((SLOT, "DE"), (SLOT + 900, "DE"), (SLOT, "FR")):
        site = open_site(settings.load(str(configure(tmp_path, site_zone=zone))))
        with site.database.write() as session:
            site.terms.factors(session, {(zone, slot)})
        site.database.close()
    site = open_site(settings.load(str(configure(tmp_path))))
    with site.database.read() as session:
        query = "SELECT zone, revision FROM intensity i JOIN factor_source s ON s.id = i.source_id ORDER BY i.id"
        assert session.execute(text(query)).all() == [("DE", 1), ("FR", 1)]
    site.database.close()


def test_factor_stays(tmp_path: Path) -> None:
    """A slot keeps its factor when a later row comes under other settings."""
    for sequence, pue in ((1, "1.3"), (2, "1.9")):
        site = open_site(settings.load(str(configure(tmp_path, site_pue=pue))))
        from accounting.samples import JOB
        from carbon_acct.sync.jobs import record_jobs

        with site.database.write() as session:
            record_jobs(session, [JOB], site.terms)
            body = segment([ledger(revision=sequence), job_slot(revision=sequence)], sequence=sequence)
            store_segment(session, parse_segment(body, NOW), site.terms, NOW)
        with site.database.read() as session:
            assert session.scalar(text("SELECT pue FROM slot_factor")) == "1.3"
        site.database.close()


BEFORE_DAYS = """
INSERT INTO cluster (id, name) VALUES (1, 'demo');
INSERT INTO node (id, cluster_id, name) VALUES (1, 1, 'n1');
INSERT INTO job (id, cluster_id, job_id_raw, job_id, leader_id, name, user, uid, state, submit, start, "end", elapsed_s,
 nnodes, unmetered_us, unmetered_nodes)
 VALUES (1, 1, 7, '7', 7, 'x', 'alice', 1000, 'COMPLETED', {slot}, {slot}, {slot} + 60, 60, 1, 0, 0);
INSERT INTO ledger (id, cluster_id, node_id, stream, job_id, run, revision, opened, matched_id)
 VALUES (1, 1, 1, '00c0ffee', 7, 'restart:0', 1, {slot}, 1);
INSERT INTO node_job_slot (ledger_id, slot, revision, alloc_us, simulated, cpu_uj, cpu_metered_us, cpu_method)
 VALUES (1, {slot}, 1, 60000000, 0, 1000, 60000000, 'counter');
INSERT INTO node_slot (node_id, stream, slot, revision, elapsed_us, simulated, cpu_uj, cpu_idle_uj, cpu_system_uj)
 VALUES (1, '00c0ffee', {slot}, 1, 60000000, 0, 1500, 300, 200);
"""


def test_an_older_database_gets_its_sums(tmp_path: Path) -> None:
    """A database of before there were days is brought up to date, with sums made of what it holds."""
    migrate(f"sqlite:///{tmp_path}/carbon-acct.db", "0002")
    database = Database(f"sqlite:///{tmp_path}/carbon-acct.db")
    with database.engine.connect() as connection, connection.begin():
        for statement in BEFORE_DAYS.format(slot=SLOT).split(";")[:-1]:
            connection.execute(text(statement))
    database.close()
    site = open_site(settings.load(str(configure(tmp_path))))
    with site.database.read() as session:
        (record,) = list_jobs(session, Filters(EVERYTHING))
        balance = totals.conservation(session)
        days = totals.days(session, 0, NOW)
    site.database.close()

    assert (record.energy_uj, record.facility_uj, record.user) == (1000, 1300, "alice")
    assert (balance.total.metered_uj, balance.total.difference_uj) == (1500, 0)
    assert [(d.user, d.jobs, d.energy_uj) for d in days] == [("alice", 1, 1000)]
