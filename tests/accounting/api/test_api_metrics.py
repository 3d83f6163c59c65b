# SPDX-License-Identifier: MIT
"""/metrics and /healthz: what happened is counted, and nothing in it is about any user."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine

from accounting.samples import job_slot, ledger, segment
from accounting.served import Served, wait_for
from accounting.slurm_programs import StandIn
from carbon_acct.api import watch
from carbon_collector.http import request


def metrics(served: Served) -> dict[str, float]:
    """Every sample by its name and labels, `name{a=b}`."""
    text = request("GET", served.url, "/metrics", b"", {}).body.decode()
    return {
        s.name + "".join(f"{{{k}={v}}}" for k, v in sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def refused(served: Served) -> dict[str, float]:
    """How many requests were refused, by class of reason."""
    name = "carbon_acct_requests_refused_total{reason="
    return {key.removeprefix(name).rstrip("}"): n for key, n in metrics(served).items() if key.startswith(name)}


def test_counts(served: Served) -> None:
    """Segments, records by fate, requests by route and status, and their times are counted."""
    served.ask("POST", "/v1/segments", segment([ledger(), job_slot(), b"tea", job_slot(slot=900 * 2_500_000)]))
    served.ask("POST", "/v1/segments", segment([ledger()], sequence=2))
    served.ask("GET", "/v1/jobs?start=tea")
    found = metrics(served)
    assert found["carbon_acct_segments_total"] == 2
    assert found["carbon_acct_records_accepted_total"] == 3
    assert found["carbon_acct_records_refused_total{reason=format}"] == 1
    assert found["carbon_acct_records_refused_total{reason=future}"] == 1
    assert found["carbon_acct_requests_total{method=POST}{route=/v1/segments}{status=200}"] == 2
    assert found["carbon_acct_requests_total{method=GET}{route=/v1/jobs}{status=400}"] == 1
    assert found["carbon_acct_request_seconds_count{route=/v1/segments}"] == 2
    assert refused(served) == {"parameter": 1}


@pytest.mark.each_kind
def test_state(served: Served, slurm: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database, the poll of Slurm and the ledgers without a job are told as they are now."""
    monkeypatch.setattr(watch, "COUNT_EVERY_S", 0.0)
    served.ask("POST", "/v1/segments", segment([ledger()]))
    wait_for(lambda: metrics(served).get("carbon_acct_unmatched_ledgers") == 1)  # counted beside the requests
    found = metrics(served)
    assert found["carbon_acct_database_up"] == 1
    assert found["carbon_acct_slurm_up"] == 1
    assert 0 <= found["carbon_acct_slurm_poll_age_seconds"] < 60
    slurm.jobs([], error="Connection refused")
    served.ask("POST", "/v1/sync")
    assert metrics(served)["carbon_acct_slurm_up"] == 0


def test_nobody_is_named(served: Served, slurm: StandIn) -> None:
    """No label and no value comes from what a stranger or a user sent: series cannot be made at will."""
    slurm.jobs([{}])
    served.poller.poll()
    served.ask("POST", "/v1/segments", segment([ledger(user="mallory", account="secret")]))
    strange(served, "mallory")
    metrics(served)
    before = set(metrics(served))
    strange(served, "mallory2")
    text = request("GET", served.url, "/metrics", b"", {}).body
    for name in (b"mallory", b"MALLORY", b"secret", b"physics", b"n1"):
        assert name not in text
    series = [line.rpartition(b" ")[0] for line in text.splitlines()]  # a time of day may have any digits
    assert not any(b"54001" in one for one in series)
    assert set(metrics(served)) == before


def strange(served: Served, name: str) -> None:
    """Ask for what there is not, by paths, methods and parameters with a name in them."""
    for target in (f"/v1/{name}", f"/v1/jobs?users={name}", f"/healthz/{name}", f"/v1/jobs/{name}"):
        for method in ("GET", name.upper(), "PUT"):
            served.ask(method, target, uid=54001)


@pytest.mark.each_kind
def test_database_away(served: Served) -> None:
    """Without its database the aggregator says so to everybody who asks, tells nothing of it, and recovers by itself."""
    served.ask("POST", "/v1/segments", segment([ledger()]))
    database = served.site.database
    real, url = database.engine, database.engine.url
    away = url.set(port=1) if url.host else url.set(database="/nonexistent/carbon-acct.db")
    database.engine = create_engine(away)
    for method, target in (("GET", "/healthz"), ("GET", "/v1/jobs"), ("POST", "/v1/segments")):
        answer = served.ask(method, target, segment([ledger()], sequence=2) if method == "POST" else b"")
        assert answer.status == 503
        assert json.loads(answer.body) == {"detail": "the database does not answer; the aggregator's log says why"}
    found = metrics(served)
    assert found["carbon_acct_database_up"] == 0
    assert "carbon_acct_unmatched_ledgers" not in found
    database.engine.dispose()
    database.engine = real
    assert served.ask("GET", "/healthz").status == 200
    assert served.ask("POST", "/v1/segments", segment([ledger()], sequence=2)).status == 200
    assert metrics(served)["carbon_acct_database_up"] == 1
