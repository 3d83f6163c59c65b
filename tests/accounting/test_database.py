# SPDX-License-Identifier: MIT
"""The database itself: its schema, its transactions, and what a crash leaves."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from accounting.samples import NOW, configure, job_slot, ledger, segment
from carbon_acct import receive, totals
from carbon_acct.db.models import Base
from carbon_acct.records import parse_segment
from carbon_acct.site import Site, open_site
from carbon_collector import settings


def test_migrations_make_the_models(site: Site) -> None:
    """The migrations leave the very schema that the models describe."""
    with site.database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_an_error_stores_nothing(site: Site) -> None:
    """A transaction that fails half-way leaves nothing of itself."""

    def half() -> None:
        with site.database.write() as session:
            receive.store(session, parse_segment(segment([ledger(), job_slot()]), NOW), site.price, NOW)
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
            session.execute(text("UPDATE intensity SET fetched_at = 1"))
            entered.set()
            time.sleep(0.5)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    with site.database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM intensity")) == 1
    with site.database.write() as session:
        assert session.scalar(text("SELECT fetched_at FROM intensity")) == 1
    thread.join()


CRASH = """
import os, sys
sys.path.insert(0, sys.argv[2])
from accounting.samples import NOW, job_slot, ledger, segment
from carbon_acct import receive
from carbon_acct.records import parse_segment
from carbon_acct.site import open_site
from carbon_collector import settings
site = open_site(settings.load(sys.argv[1]))
for sequence in range(1, 1000):
    body = segment([ledger(revision=sequence), job_slot(revision=sequence)], sequence=sequence)
    with site.database.write() as session:
        receive.store(session, parse_segment(body, NOW), site.price, NOW)
    print(sequence, flush=True)
"""


def test_killed(tmp_path: Path) -> None:
    """Every segment that was acknowledged before a kill is there after it, and half of none."""
    config = configure(tmp_path)
    command = [sys.executable, "-c", CRASH, str(config), str(Path(__file__).parents[1])]
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


def test_changed_factor_is_a_new_revision(tmp_path: Path) -> None:
    """Opening a site twice stores its factor once; another zone adds its own."""
    for zone in ("DE", "DE", "FR"):
        open_site(settings.load(str(configure(tmp_path, site_zone=zone)))).database.close()
    site = open_site(settings.load(str(configure(tmp_path))))
    with site.database.read() as session:
        assert session.execute(text("SELECT zone, revision FROM intensity ORDER BY id")).all() == [("DE", 1), ("FR", 1)]
    site.database.close()


def test_price_stays(tmp_path: Path) -> None:
    """A slot once priced keeps its price when a later row comes under other settings."""
    for sequence, pue in ((1, "1.3"), (2, "1.9")):
        site = open_site(settings.load(str(configure(tmp_path, site_pue=pue))))
        from accounting.samples import JOB
        from carbon_acct.jobs import record_jobs

        with site.database.write() as session:
            record_jobs(session, [JOB], site.price)
            body = segment([ledger(revision=sequence), job_slot(revision=sequence)], sequence=sequence)
            receive.store(session, parse_segment(body, NOW), site.price, NOW)
        with site.database.read() as session:
            assert session.scalar(text("SELECT pue FROM job_slot")) == "1.3"
        site.database.close()
