# SPDX-License-Identifier: MIT
"""A database that is not there: the aggregator starts without it, says so, opens it when it comes, and outlives it."""

from __future__ import annotations

import logging
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from accounting.db.fixtures import KINDS
from accounting.db.servers import Server, running
from accounting.delivery.test_many_deliver import alone, figure, take
from accounting.samples import JOB, configure, job_slot, ledger, segment
from accounting.served import wait_for
from accounting.test_aggregator import running as running_aggregator
from carbon_acct.db import faults
from carbon_acct.errors import AwayError, DatabaseError
from carbon_acct.site import Site, site_of
from carbon_collector import settings
from carbon_collector.http import request

TOLD = ("starting without it", "answers now", "; the nodes keep their rows until it answers", "answers again")
"""What the log says of a server that is down, comes, goes and comes back: each once."""


@pytest.fixture(scope="module", params=KINDS[1:])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of this module's own, because it is killed; with a database `away`."""
    with running(request.param) as found:
        found.new_database("away")
        yield found


def test_starts_without(server: Server, tmp_path: Path) -> None:
    """It listens although the database's server is down, answers 503 with the reason, and works when that comes back."""
    server.kill()
    config = configure(tmp_path, aggregator_listen="127.0.0.1:0", aggregator_database=server.url.format("away"))
    with running_aggregator(config) as (process, url):
        before = request("GET", url, "/healthz", b"", {})
        server.start()
        wait_for(lambda: request("GET", url, "/healthz", b"", {}).status == 200, 30)
        server.kill()
        between = request("GET", url, "/healthz", b"", {})
        server.start()
        wait_for(lambda: request("GET", url, "/healthz", b"", {}).status == 200, 30)
        process.terminate()
        try:
            _, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            pytest.fail("it does not end")
    said = [words for line in err.splitlines() for words in TOLD if words in line]

    assert (before.status, between.status) == (503, 503)
    assert b"detail" in before.body
    assert process.returncode == 0
    assert "Traceback" not in err
    assert said == list(TOLD)


def test_survives_death(server: Server, fresh_database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What comes while the server is dead fails in one line; what comes after is stored; nothing is stored twice."""
    server.query("DROP DATABASE away")
    server.new_database("away")
    caplog.set_level(logging.WARNING, "carbon_acct")
    config = configure(tmp_path, aggregator_database=server.url.format("away"))
    site: Site = site_of(settings.load(str(config)))
    events = [JOB, *(segment([ledger(revision=n), job_slot(revision=n)], sequence=n) for n in range(1, 7))]
    refused = 0
    for number, event in enumerate(events):
        if number == 3:
            server.kill()
            for _ in range(2):
                with pytest.raises(AwayError):
                    take(site, event)
                refused += 1
            server.start()
        take(site, event)
    found = figure(site)
    site.database.close()

    assert refused == 2
    assert [("keep their rows" in r.getMessage(), "answers again" in r.getMessage()) for r in caplog.records] == [
        (True, False),
        (False, True),
    ]
    assert found == alone(fresh_database, events)


def test_a_wrong_name_is_not_away(server: Server, tmp_path: Path) -> None:
    """A database that the server does not know is an error to start with, not something to wait for."""
    config = configure(tmp_path, aggregator_database=server.url.format("nothing"))
    site = site_of(settings.load(str(config)))
    with pytest.raises(DatabaseError, match="nothing") as caught:
        site.database.open()

    assert not isinstance(caught.value, AwayError)


@pytest.mark.servers
def test_a_server_that_speaks_another_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL server that stops or starts is away, whatever its words for that are."""
    from psycopg import pq

    monkeypatch.setattr(faults, "POSTGRESQL_NOT_YET", ())
    with running("postgresql") as server:
        url = server.new_database("away")
        database = site_of(settings.load(str(configure(tmp_path, aggregator_database=url)))).database
        engine = create_engine(url)
        with engine.connect() as connection:  # it waits for this one to end, and refuses others
            connection.execute(text("SELECT 1"))
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            plain = url.replace("+psycopg", "").encode()
            wait_for(lambda: pq.PGconn.ping(plain) == pq.Ping.REJECT)
            with pytest.raises(AwayError):
                database.open()
        engine.dispose()
