# SPDX-License-Identifier: MIT
"""The API, fuzzed from its own description for a bounded time: over real HTTP, with real credentials of root and a user."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounting.samples import job_slot, ledger, segment
from accounting.served import Served, serve
from accounting.slurm_programs import StandIn
from carbon_acct.api.limits import Limits, Rate
from carbon_acct.site import Site
from carbon_acct.sync.slurm import Poller

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
EXAMPLES = 25
"""Of each operation and caller; each costs two programs of munge's. Together about 20 s."""


SEQUENCES = itertools.count(2)


@schemathesis.serializer("application/x-ndjson")
def as_lines(_context: object, value: object) -> bytes:
    """Every other text as it is, the others as records of a segment that is whole."""
    text = str(value).encode("utf-8", "surrogatepass")
    return text if len(text) % 2 else segment(text.split(b"\n"), sequence=next(SEQUENCES))


@pytest.fixture
def unlimited(site: Site, poller: Poller, slurm: StandIn, munge_socket: str) -> Iterator[Served]:
    """The API with a job in it, and without a bound on the number of requests."""
    slurm.jobs([{}])
    poller.poll()
    free = Rate(10**9, 1e9)
    for served in serve(site, poller, munge_socket, Limits(users=free, root=free)):
        assert served.ask("POST", "/v1/segments", segment([ledger(), job_slot()])).status == 200
        yield served


def signed(served: Served, prepared: requests.PreparedRequest, uid: int) -> requests.PreparedRequest:
    """The request with a credential for just its bytes."""
    body = prepared.body or b""
    content = body.encode() if isinstance(body, str) else body
    if prepared.method == "GET":
        content = (prepared.path_url or "").encode()
    prepared.headers["Authorization"] = f"MUNGE {served.credential(hashlib.sha256(content).hexdigest(), uid)}"
    return prepared


@pytest.mark.parametrize("uid", [0, 54001])
@pytest.mark.slow
def test_api(unlimited: Served, uid: int) -> None:
    """No request that fits the description, and none that does not, gets a fault, or an answer that is not described."""
    schema = schemathesis.openapi.from_url(f"{unlimited.url}/openapi.json")
    tried: dict[str, set[int]] = {}
    with requests.Session() as session:
        for found in schema.get_all_operations():
            operation = found.ok()
            statuses = tried.setdefault(operation.label, set())
            strategy = operation.as_strategy() | operation.as_strategy(
                generation_mode=schemathesis.GenerationMode.NEGATIVE
            )
            _fuzz(unlimited, session, strategy, uid, statuses)
    assert set(tried) == {
        "POST /v1/segments",
        "GET /v1/jobs",
        "GET /v1/status",
        "GET /v1/unmatched",
        "GET /v1/intensity",
        "GET /v1/power",
        "GET /v1/power/series",
        "GET /v1/usage",
        "POST /v1/sync",
        "GET /healthz",
        "GET /metrics",
    }
    assert {200, 400} <= tried["GET /v1/jobs"]
    assert tried["POST /v1/segments"] == ({200, 422} if uid == 0 else {403})


def _fuzz(served: Served, session: requests.Session, strategy: object, uid: int, statuses: set[int]) -> None:
    from hypothesis import given

    @given(case=strategy)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def one(case: schemathesis.Case) -> None:
        kwargs = case.as_transport_kwargs(base_url=served.url)
        kwargs.pop("cookies", None)
        prepared = signed(served, session.prepare_request(requests.Request(**kwargs)), uid)
        assert urlsplit(prepared.url or "").port == served.port
        response = session.send(prepared, timeout=60, allow_redirects=False)
        statuses.add(response.status_code)
        case.validate_response(response, checks=list(CHECKS))

    one()
