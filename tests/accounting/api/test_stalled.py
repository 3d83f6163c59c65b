# SPDX-License-Identifier: MIT
"""A database that stands still, neither answering nor refusing: nobody waits for it, and it is told once."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from accounting.db.fixtures import KINDS
from accounting.db.servers import Server, running
from accounting.samples import job_slot, ledger, new_site, segment
from accounting.served import Served, serve, wait_for
from accounting.slurm_programs import StandIn
from carbon_acct.api import watch
from carbon_acct.sync.slurm import Poller
from carbon_collector.http import request


@pytest.fixture(params=KINDS[1:])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of this test's own, because it is stopped; with a database `still`."""
    with running(request.param) as found:
        found.new_database("still")
        yield found


def processes(server: Server) -> list[int]:
    """The server's process and, of PostgreSQL, those that it serves with."""
    assert server.process is not None
    own = server.process.pid
    return [own, *map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split())]


def go_on(stopped: list[int]) -> None:
    """Let them go on; those that serve a connection end with it."""
    for one in stopped:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGCONT)


def ask(served: Served, target: str) -> tuple[int, float]:
    """Status, and seconds until it came."""
    started = time.monotonic()
    status = request("GET", served.url, target, b"", {}, timeout_s=20).status
    return status, time.monotonic() - started


def test_a_database_that_stands_still(
    server: Server,
    tmp_path: Path,
    slurm: StandIn,
    munge_socket: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """/healthz and /metrics answer within a second all the while, requests are refused at once after the first ones,
    those that wait are let go, and all is well when it goes on.
    """
    monkeypatch.setattr(watch, "CUT_S", 4.0)
    caplog.set_level(logging.WARNING, "carbon_acct")
    site = new_site(tmp_path, aggregator_database=server.url.format("still"))
    poller = Poller(site, slurm.programs, "sacct", 60)
    poller.poll()
    stopped: list[int] = []
    try:
        with contextmanager(serve)(site, poller, munge_socket) as served:
            assert served.ask("POST", "/v1/segments", segment([ledger(), job_slot()])).status == 200
            assert ask(served, "/healthz")[0] == 200
            stopped = processes(server)
            for one in stopped:
                os.kill(one, signal.SIGSTOP)
            statuses: list[int] = []
            waiting = [
                threading.Thread(target=lambda u=uid: statuses.append(served.ask("GET", "/v1/jobs", uid=u).status))  # type: ignore[misc]
                for uid in range(60_000, 60_012)
            ]
            for thread in waiting:
                thread.start()
            until = time.monotonic() + 6
            while time.monotonic() < until:
                for target, expected in (("/healthz", {200, 503}), ("/metrics", {200})):
                    status, took_s = ask(served, target)
                    assert status in expected
                    assert took_s < 10  # a second, and what a busy test machine adds
            assert ask(served, "/healthz")[0] == 503
            assert b"carbon_acct_database_up 0.0" in request("GET", served.url, "/metrics", b"", {}).body
            started = time.monotonic()
            assert served.ask("GET", "/v1/jobs").status == 503
            assert served.ask("POST", "/v1/segments", segment([ledger()], sequence=2)).status == 503
            assert time.monotonic() - started < 15
            for thread in waiting:
                thread.join(30)
            assert statuses == [503] * 12
            go_on(stopped)
            wait_for(lambda: ask(served, "/healthz")[0] == 200, 30)
            wait_for(lambda: served.ask("POST", "/v1/segments", segment([ledger()], sequence=2)).status == 200, 30)
            assert served.ask("GET", "/v1/jobs").status == 200
    finally:
        go_on(stopped)
        site.database.close()
    told = [record.getMessage() for record in caplog.records]
    assert sum("stands still, and" in line for line in told) == 1
    assert sum("goes on" in line for line in told) == 1


def test_counting_is_no_standstill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large database in which counting takes long answers all the while, so nothing is refused."""
    monkeypatch.setattr(watch, "STALLED_S", 0.5)
    monkeypatch.setattr(watch, "ASK_EVERY_S", 0.05)
    site = new_site(tmp_path)
    counting, gate = threading.Event(), threading.Event()

    def slow(_: watch.Watch) -> None:
        counting.set()
        assert gate.wait(20)

    monkeypatch.setattr(watch.Watch, "_count_once", slow)
    watching = watch.Watch(site.database)
    watching.start()
    try:
        assert counting.wait(20)
        begun = watching._begun
        wait_for(lambda: watching._begun > begun + 20)
        assert not site.database.stalled
    finally:
        gate.set()
        watching.stop()
        site.database.close()
