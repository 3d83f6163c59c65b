# SPDX-License-Identifier: MIT
"""Power over time and the client for programs, over real HTTP with a real munged."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from accounting.api.test_api import ALICE, BOB, ROWS, TREE, deliver, get, people
from accounting.api.test_usage_api import USERS
from accounting.samples import SLOT, job_slot, ledger, node_slot, segment, share
from accounting.served import Served
from accounting.slurm_programs import StandIn
from carbon_acct.client.api_client import Client, Figures, Job, Waste
from carbon_acct.db.checksum import figures
from carbon_acct.queries import totals
from carbon_acct.site import Site
from carbon_acct.sums import rebuild
from carbon_acct.sync.slurm import FRESHEN_WAIT_S, Poller

__all__ = ["people"]


@pytest.fixture
def filled(served: Served, slurm: StandIn, people: None) -> Served:
    """Alice's job has two slots, bob's one."""
    slurm.jobs([row | {"Start": str(SLOT + 600), "End": str(SLOT + 1500)} for row in ROWS[:2]])
    slurm.rights(private="jobs", users=USERS, tree=TREE)
    served.poller.poll(thorough=True)
    run = {"run": "restart:0", "opened": SLOT + 600}
    rows = [ledger(job_id=1, **run | {"closed": SLOT + 1500}), ledger(job_id=2, **run | {"closed": SLOT + 1500})]
    rows += [job_slot(job_id=1, slot=slot, **run) for slot in (SLOT, SLOT + 900)]
    rows += [job_slot(job_id=2, **run), node_slot()]
    assert deliver(served, segment(rows))[1]["refused"] == []
    return served


@pytest.fixture
def client(filled: Served, tmp_path: Path) -> Client:
    """A client of root."""
    conf = tmp_path / "client.conf"
    conf.write_text(f"[collector]\naggregators = {filled.url}\n[slurm]\nmunge_socket = {filled.munge_socket}\n")
    return Client(str(conf))


@pytest.mark.each_kind
def test_points(filled: Served) -> None:
    """A point is a slot as far as the run had it; the energies add up to the job's."""
    _, answer = get(filled, "/v1/power/series?jobs=1", ALICE)
    (series,) = answer["series"]
    assert (series["job_id"], series["step_s"]) == ("1", 900)
    assert [(p["start"] - SLOT, p["end"] - SLOT, p["energy_uj"]) for p in series["points"]] == [
        (600, 900, 1100),
        (900, 1500, 1100),
    ]
    assert get(filled, "/v1/jobs?jobs=1", ALICE)[1]["jobs"][0]["energy_uj"] == 2200
    assert get(filled, "/v1/power/series?jobs=2", ALICE)[1] == {"series": []}
    for query in ("jobs=", "jobs=%27", "jobs=" + ",".join(map(str, range(101)))):
        assert get(filled, f"/v1/power/series?{query}", ALICE)[0] == 400


def test_client(client: Client) -> None:
    """A program gets jobs, sums and points as records, with energies as integers."""
    jobs = client.jobs(all_users=True, accounts=["physics"])
    assert [(job.job_id, job.energy_uj, job.timelimit_s) for job in jobs] == [("1", 2200, 600)]
    assert jobs[0] == Job(vars(jobs[0]))
    found = client.usage(month="2012-10", by=["user", "state"], waste=True, compare="previous", top=1)
    (row,) = found.rows
    assert (row.key, row.figures.jobs, row.figures.energy_uj) == ({"user": "alice", "state": "COMPLETED"}, 1, 2200)
    assert isinstance(row.figures, Figures)
    assert row.previous is not None
    assert row.previous.jobs == 0
    assert row.waste is not None
    assert row.waste["failed"] == Waste(0, None, None)
    assert (found.other_rows, found.total.figures.energy_uj, found.window["month"]) == (1, 3300, "2012-10")
    (series,) = client.power_series("1")
    assert [point.watts for point in series.points] == [1100 / 300 / 1e6, 1100 / 600 / 1e6]


def test_client_is_light() -> None:
    """The client needs nothing but the standard library: neither the server's packages nor the database."""
    code = "import sys, carbon_acct.client.api_client; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sqlalchemy", "fastapi", "pydantic", "httpx", "pandas"} & set(eval(run.stdout))


def test_a_job_that_started_since_the_last_poll_is_there(site: Site, slurm: StandIn) -> None:
    """Answers about now ask Slurm first: once for all that come together, and not again within seconds."""
    poller = Poller(site, slurm.programs, "sacct", 600)
    poller.poll(thorough=True)
    poller.start()
    try:
        deadline = time.monotonic() + 60
        while not poller._polls and time.monotonic() < deadline:
            time.sleep(0.02)
        before = len(slurm.calls())
        poller.freshen()
        assert len(slurm.calls()) == before  # what is known is a moment old
        poller._know(polled_at=(poller.state.polled_at or 0) - 60)
        slurm.jobs([{"State": "RUNNING", "End": "Unknown"}])
        waiting = [threading.Thread(target=poller.freshen) for _ in range(8)]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join()
        assert len(slurm.calls()) == before + 1
        with site.database.read() as session:
            assert totals.counts(session).jobs == 1
        poller._know(polled_at=0, error="slurmdbd is down")
        began = time.monotonic()
        poller.freshen()
        assert time.monotonic() - began < FRESHEN_WAIT_S
    finally:
        poller.stop()


def by_minute(*minutes: int | None, energy_uj: int = 1000) -> dict[str, Any]:
    """The CPU's share with minutes, beside one of memory."""
    told = [*minutes, *[None] * (15 - len(minutes))]
    return {"cpu": share(energy_uj, minute_uj=told), "dram": share(100, minute_uj=[*[None] * 14, 100])}


@pytest.mark.each_kind
def test_minutes(filled: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Where nodes told minutes a series has them for those who may see the job, and else slots. Minutes that do not add up
    are refused, not their row; a newer row without minutes takes them away.
    """
    run = {"job_id": 1, "run": "restart:0", "opened": SLOT + 600}
    asked = "/v1/power/series?jobs=1&minutes=1"

    def told(revision: int, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
        rows = [job_slot(first, revision=revision, **run), job_slot(second, revision=revision, slot=SLOT + 900, **run)]
        answer = deliver(filled, segment(rows, sequence=revision))[1]
        assert (answer["accepted"], answer["refused"]) == (2, [])
        (series,) = get(filled, asked, ALICE)[1]["series"]
        assert sum(point["energy_uj"] or 0 for point in series["points"]) == 2200
        assert sum(point["carbon_ug"] or 0 for point in series["points"]) == carbon
        assert get(filled, asked, BOB)[1] == {"series": []}
        return dict(series)

    carbon = get(filled, "/v1/jobs?jobs=1", ALICE)[1]["jobs"][0]["carbon_ug"]
    series = told(2, by_minute(*[None] * 10, 200, 0, 300, 500), by_minute(energy_uj=1000))
    points = [(p["start"] - SLOT, p["end"] - SLOT, p["cpu_uj"], p["energy_uj"]) for p in series["points"]]
    assert series["step_s"] == 60
    minute = [(600, 660, 200, 200), (660, 720, 0, 0), (720, 780, 300, 300), (780, 840, 500, 500), (840, 900, None, 100)]
    assert points == [*minute, (900, 1500, 1000, 1100)]
    assert "job 1, slot 1350000900: its minutes do not add up" in caplog.text
    assert get(filled, "/v1/power/series?jobs=1", ALICE)[1]["series"][0]["step_s"] == 900
    assert told(3, {"cpu": share(), "dram": share(100)}, by_minute(*[100] * 10))["points"][0]["end"] == SLOT + 900
    assert told(4, by_minute(1001), by_minute(0, 1000))["step_s"] == 60


@pytest.mark.each_kind
def test_two_nodes(filled: Served) -> None:
    """The minutes of a job are those of all of its nodes, and sums that are made anew have the same."""
    run = {"job_id": 1, "run": "restart:0", "opened": SLOT + 600, "revision": 2}
    one = [job_slot(by_minute(*[None] * 10, 400, 600), **run), job_slot(by_minute(1000), slot=SLOT + 900, **run)]
    deliver(filled, segment(one, sequence=2))
    deliver(filled, segment([ledger(job_id=1, run="restart:0", opened=SLOT + 600), one[0]], stream="0badcafe"))
    (series,) = get(filled, "/v1/power/series?jobs=1&minutes=1", ALICE)[1]["series"]
    assert [p["cpu_uj"] for p in series["points"]][:3] == [800, 1200, None]
    before = filled.site.database.run(figures)
    filled.site.database.run(lambda session: rebuild.rebuild_all(session, filled.site.terms))
    assert filled.site.database.run(figures) == before
