# SPDX-License-Identifier: MIT
"""Power over time and the client for programs, over real HTTP with a real munged."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from accounting.api.test_api import ALICE, ROWS, TREE, deliver, get, people
from accounting.api.test_usage_api import USERS
from accounting.samples import SLOT, job_slot, ledger, node_slot, segment
from accounting.served import Served
from accounting.slurm_programs import StandIn
from carbon_acct.client.api_client import Client, Figures, Job, Waste
from carbon_acct.queries import totals
from carbon_acct.site import Site
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
