# SPDX-License-Identifier: MIT
"""The HTTP API on loopback with a real munged: delivering, asking, and being refused."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import fields
from typing import Any

import pytest

from accounting.samples import SLOT, job_slot, ledger, node_slot, segment
from accounting.served import Served
from accounting.slurm_programs import CONFIG, StandIn
from carbon_acct.queries.jobs import JobRecord
from carbon_collector import munge
from carbon_collector.http import request
from carbon_job.aggregator import energy_of

BODY = segment([ledger(), job_slot(), node_slot()])
ALICE, BOB, ANNA, OPERATOR, CARL = 54001, 54002, 54003, 54004, 54009
NAMES = {ALICE: "alice", BOB: "bob", ANNA: "anna", OPERATOR: "op", CARL: "carl"}


def deliver(served: Served, body: bytes = BODY) -> tuple[int, Any]:
    """Status and content of the answer, without its credential, which is another each time (test_receipts.py)."""
    answer = served.ask("POST", "/v1/segments", body)
    content = json.loads(answer.body)
    content.pop("credential", None)
    return answer.status, content


def get(served: Served, target: str, uid: int = 0) -> tuple[int, Any]:
    answer = served.ask("GET", target, uid=uid)
    return answer.status, json.loads(answer.body)


@pytest.mark.each_kind
def test_deliver(served: Served) -> None:
    """Root's segment for a node of this host is stored, and so is its repetition."""
    expected = {"segment": "n1.b0-07.00c0ffee.00000001.jsonl", "accepted": 3, "refused": []}
    assert deliver(served) == (200, expected)
    assert deliver(served) == (200, expected)


def test_bad_record_is_named(served: Served) -> None:
    """A bad record is refused by its line, the rest stored."""
    status, answer = deliver(served, segment([ledger(), b"tea", node_slot()]))
    assert (status, answer["accepted"]) == (200, 2)
    assert answer["refused"][0]["line"] == 3


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"tea", 422, "not a segment"),
        (BODY[:-3], 422, "torn segment"),
        (b"", 422, "not a segment"),
        (segment([ledger()], node="n9"), 403, "not known to Slurm"),
        (segment([ledger()], cluster="other"), 403, "not accounted here"),
        (b"x" * (9 << 20), 413, "bytes"),
        (b"x" * (17 << 20), 413, "larger than"),
    ],
)
def test_refused_whole(served: Served, body: bytes, status: int, reason: str) -> None:
    """What is torn, foreign or too large is refused with its status and one line."""
    found, answer = deliver(served, body)
    assert found == status
    assert reason in answer["detail"]
    assert get(served, "/v1/status")[1]["segments"] == 0


def test_new_node_is_looked_up(served: Served, slurm: StandIn) -> None:
    """A node that joined after the last poll is not turned away."""
    slurm.says("sinfo", "n1 localhost 127.0.0.1\nn2 localhost 127.0.0.1\n")
    served.poller._nodes_at = -1000.0  # the list was not read a moment ago
    assert deliver(served, segment([ledger()], node="n2"))[0] == 200


def test_refusals_are_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """What a node's root sent in vain is in the log with the reason; what users send does not fill it."""
    deliver(served, segment([ledger()], node="n9"))
    deliver(served, segment([ledger(), b"tea"]))
    served.ask("POST", "/v1/segments", BODY, uid=ALICE)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("carbon_acct.api")]
    assert len(said) == 2
    assert "node n9 is not known to Slurm" in said[0]
    assert "1 refused, line 3" in said[1]


def test_user_may_not_deliver(served: Served) -> None:
    """Only root speaks for a node."""
    answer = served.ask("POST", "/v1/segments", BODY, uid=ALICE)
    assert answer.status == 403
    assert b"only root" in answer.body


def test_no_credential(served: Served) -> None:
    """A request without a credential is refused before its body is read."""
    for headers in ({}, {"Authorization": "Basic cm9vdDo="}, {"Authorization": "MUNGE "}):
        answer = request("POST", served.url, "/v1/segments", BODY, headers)
        assert answer.status == 401


def test_forged_credential(served: Served) -> None:
    """What munged did not make is refused."""
    for forged in ("MUNGE:AAAA:", "x" * 1000, "MUNGE:AwQDAAC=:"):
        assert served.send("POST", "/v1/segments", BODY, forged).status == 401


def test_credential_of_another_request(served: Served) -> None:
    """A credential cannot be taken from one request and put on another."""
    credential = served.credential(munge.digest(BODY))
    assert served.send("POST", "/v1/segments", segment([ledger(user="eve")]), credential).status == 401
    credential = served.credential(munge.request_digest("GET", "/v1/jobs", b""))
    assert served.send("GET", "/v1/jobs?all_users=1", b"", credential).status == 401


def test_replayed_credential(served: Served) -> None:
    """Munged takes a credential once."""
    credential = served.credential(munge.digest(BODY))
    assert served.send("POST", "/v1/segments", BODY, credential).status == 200
    assert served.send("POST", "/v1/segments", BODY, credential).status == 401


def test_slurm_never_known(served: Served) -> None:
    """As long as Slurm's nodes were never known, a node is asked to try again, and nothing is lost."""
    from dataclasses import replace

    served.poller.state = replace(served.poller.state, nodes=None)
    served.poller._nodes_at = 1e18  # the list was asked for a moment ago, in vain
    status, answer = deliver(served)
    assert status == 503
    assert "try again" in answer["detail"]


@pytest.mark.each_kind
def test_every_key(served: Served, slurm: StandIn) -> None:
    """A job has every key of the contract, and null where nothing is known."""
    slurm.jobs([{}])
    served.poller.poll()
    _, answer = get(served, "/v1/jobs")
    (job,) = answer["jobs"]
    assert set(job) == {f.name for f in fields(JobRecord)}
    assert (job["energy_uj"], job["carbon_ug"], job["quality"], job["notes"]) == (
        None,
        None,
        "none",
        ["no node reported this job"],
    )
    deliver(served)
    (job,) = get(served, "/v1/jobs")[1]["jobs"]
    assert (job["energy_uj"], job["quality"], job["coverage"]) == (1100, "measured", 100.0)
    # carbon_job, which imports nothing of this, reads the same answer for jobs on several nodes.
    assert energy_of(json.dumps({"jobs": [job]}).encode(), str(job["job_id_raw"])) == 0.0011
    assert job["intensity_source"] == "Ember 2024 via Our World in Data, yearly average, lifecycle"


def test_contract_document(served: Served) -> None:
    """docs/http-api.md names every key of a job that the API gives, and no other."""
    from pathlib import Path

    text = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text()
    table = text.split("| key | unit, meaning |")[1].split("\n\n")[0]
    import re

    named = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`([a-z_]+)`", line.split("|")[1] if "|" in line else "")
    }
    assert named == {f.name for f in fields(JobRecord)}


@pytest.mark.parametrize(
    "query",
    [
        "start=x",
        "end=-1",
        "start=99999999999999999999",
        "states=TEA",
        "jobs=%27",
        "nodes=n[1",
        "start=9&end=8",
        "truncate=maybe",
    ],
)
def test_bad_parameter(served: Served, query: str) -> None:
    """A bad parameter is a 400 with one line, not a fault."""
    status, answer = get(served, f"/v1/jobs?{query}")
    assert status == 400
    assert answer["detail"]
    assert "\n" not in answer["detail"]


def test_no_such_thing(served: Served) -> None:
    """Unknown paths and methods answer in the same form."""
    assert get(served, "/v1/tea")[0] == 404
    assert served.ask("PUT", "/v1/jobs").status == 405


@pytest.mark.each_kind
def test_status(served: Served) -> None:
    """The status counts, and balances each component in decimal strings."""
    deliver(served)
    _, answer = get(served, "/v1/status")
    assert (answer["nodes"], answer["segments"], answer["unmatched"]) == (1, 1, 1)
    assert answer["conservation"]["cpu"] == {
        "metered_uj": "1500",
        "jobs_uj": "1000",
        "idle_uj": "300",
        "system_uj": "200",
        "difference_uj": "0",
    }
    assert get(served, f"/v1/status?start={SLOT + 900}")[1]["conservation"] == {}


def test_healthz(served: Served) -> None:
    """Health needs no credential."""
    answer = request("GET", served.url, "/healthz", b"", {})
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})


def test_openapi(served: Served) -> None:
    """The API describes itself, down to the keys of a job."""
    described = json.loads(request("GET", served.url, "/openapi.json", b"", {}).body)
    assert {"/v1/segments", "/v1/jobs", "/v1/status", "/healthz"} <= set(described["paths"])
    assert "carbon_ug" in described["components"]["schemas"]["JobRecord"]["properties"]


def test_broken_clients(served: Served) -> None:
    """Clients that send half a request and wait, or leave, hold nobody else up."""
    head = b"POST /v1/segments HTTP/1.1\r\nHost: x\r\nAuthorization: MUNGE x\r\nContent-Length: 1000000\r\n\r\nhalf"
    waiting = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(60)]
    try:
        for connection in waiting[::2]:
            connection.sendall(head)
        for connection in waiting[:10]:
            connection.close()
        assert deliver(served)[0] == 200
    finally:
        for connection in waiting:
            connection.close()


@pytest.mark.each_kind
def test_many_at_once(served: Served) -> None:
    """Segments that come at once are all stored; the sums are those of one after the other."""
    answers: list[int] = []

    def send(sequence: int) -> None:
        rows = [ledger(revision=sequence), job_slot(revision=sequence)]
        answers.append(deliver(served, segment(rows, sequence=sequence))[0])

    threads = [threading.Thread(target=send, args=(n,)) for n in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 16
    assert get(served, "/v1/status")[1]["segments"] == 16


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users that this host's name service knows; the name service is not ours."""
    import pwd

    known, known_name = pwd.getpwuid, pwd.getpwnam

    def find(uid: int) -> Any:
        return type("Entry", (), {"pw_name": NAMES[uid]}) if uid in NAMES else known(uid)

    def find_name(name: str) -> Any:
        return object() if name in NAMES.values() else known_name(name)

    monkeypatch.setattr(pwd, "getpwuid", find)
    monkeypatch.setattr(pwd, "getpwnam", find_name)


ROWS = [
    {"JobIDRaw": "1", "JobID": "1", "User": "alice", "UID": str(ALICE), "Account": "physics"},
    {"JobIDRaw": "2", "JobID": "2", "User": "bob", "UID": str(BOB), "Account": "qcd"},
    {"JobIDRaw": "3", "JobID": "3", "User": "carl", "UID": str(CARL), "Account": "bio"},
]
EVERYONE = ["1", "2", "3"]
TREE = "physics|root|\nqcd|physics|\nbio|root|\nphysics||alice\nphysics||anna\nqcd||bob\n"
"""carl, who has run a job, is in no association any more."""


@pytest.mark.parametrize(
    ("private", "uid", "target", "seen"),
    [
        ("none", ALICE, "/v1/jobs", ["1"]),
        ("none", ALICE, "/v1/jobs?all_users=1", EVERYONE),
        ("none", ALICE, "/v1/jobs?users=bob", ["2"]),
        ("usage,users", ALICE, "/v1/jobs?all_users=1", EVERYONE),
        ("jobs", ALICE, "/v1/jobs", ["1"]),
        ("jobs", ALICE, "/v1/jobs?all_users=1", ["1"]),
        ("jobs", ALICE, "/v1/jobs?users=bob", []),
        ("jobs", ALICE, "/v1/jobs?jobs=2&all_users=1", []),
        ("jobs", ALICE, f"/v1/jobs?users={BOB}", []),
        ("jobs", ANNA, "/v1/jobs?all_users=1", ["1", "2"]),
        ("jobs", ANNA, "/v1/jobs", []),
        ("jobs", OPERATOR, "/v1/jobs?all_users=1", EVERYONE),
        ("jobs", 64030, "/v1/jobs?all_users=1", EVERYONE),
        ("jobs", 54321, "/v1/jobs?all_users=1", []),
        ("jobs", CARL, "/v1/jobs?all_users=1", []),
        ("none", CARL, "/v1/jobs?all_users=1", EVERYONE),
        ("jobs", 0, "/v1/jobs", EVERYONE),
        ("jobs", 0, f"/v1/jobs?users={BOB},alice", ["1", "2"]),
    ],
)
def test_privacy(
    served: Served, slurm: StandIn, people: None, private: str, uid: int, target: str, seen: list[str]
) -> None:
    """Who sees whose jobs is what slurmdbd would show: own, coordinated with sub-accounts, or all."""
    slurm.jobs(ROWS)
    users = "op|Operator|\nanna|None|physics\nalice|None|\n"
    slurm.rights(private=private, users=users, tree=TREE)
    served.poller.poll(thorough=True)
    _, answer = get(served, target, uid)
    assert [job["job_id"] for job in answer["jobs"]] == seen


@pytest.mark.parametrize("target", ["/v1/status", "/v1/unmatched"])
def test_totals_are_private_too(served: Served, slurm: StandIn, people: None, target: str) -> None:
    """Totals of all jobs are kept from whoever may not see all jobs, or others' usage, as sreport keeps them."""
    for private, status in (("jobs", 403), ("usage", 403), ("all", 403), ("users,accounts", 200), ("none", 200)):
        slurm.rights(private=private, users="op|Operator|\n")
        served.poller.poll(thorough=True)
        assert get(served, target, ALICE)[0] == status
        assert get(served, target, OPERATOR)[0] == 200


def test_slurm_conf_is_not_heeded(served: Served, slurm: StandIn, people: None) -> None:
    """PrivateData of slurm.conf, which sacctmgr shows first, is not slurmdbd's."""
    slurm.jobs(ROWS)
    slurm.says(
        "sacctmgr show configuration",
        "PrivateData = jobs\nSlurmUserId = x(1)\n" + CONFIG.format(private="none", uid=2, more=""),
    )
    served.poller.poll(thorough=True)
    assert len(get(served, "/v1/jobs?all_users=1", BOB)[1]["jobs"]) == 3
    assert served.poller.state.rights is not None
    assert served.poller.state.rights.slurm_uid == 2


@pytest.mark.each_kind
def test_no_hint(served: Served, slurm: StandIn, people: None) -> None:
    """Whoever may not see a job gets the very answer that a job which never was gets, whatever is asked of it."""
    slurm.jobs(ROWS)
    slurm.rights(private="jobs", tree=TREE)
    served.poller.poll(thorough=True)
    for query in (
        "jobs={}",
        "jobs={}&states=RUNNING",
        "jobs={}&duplicates=1&truncate=1",
        "jobs={}_1",
        "jobs={}&nodes=n1",
    ):
        foreign, never = (served.ask("GET", f"/v1/jobs?all_users=1&{query.format(i)}", uid=ALICE) for i in (2, 99))
        assert foreign == never
    for query in ("users=bob", "accounts=qcd", "clusters=demo&accounts=bio", "partitions=p&users=carl"):
        answer = served.ask("GET", f"/v1/jobs?all_users=1&{query}", uid=ALICE)
        assert answer == served.ask("GET", "/v1/jobs?accounts=nobody-has-this", uid=ALICE)


@pytest.mark.each_kind
def test_a_name_that_nobody_has(served: Served, slurm: StandIn) -> None:
    """A user or a QOS that nobody has is refused by name, as sacct does. One who left passwd is known by the jobs that
    the asker may see, and where he may see none the answer is that about a name that never was.
    """
    slurm.jobs(ROWS)
    slurm.rights(private="jobs", tree=TREE)
    served.poller.poll(thorough=True)
    for query in ("users=carl", f"users={CARL}", "users=alice,bob", "qos=normal"):
        assert served.ask("GET", f"/v1/jobs?{query}", uid=0).status == 200
    for query in ("users=carl", "users=root,never", "users=99999", "qos=normal,never"):
        answer = served.ask("GET", f"/v1/jobs?{query}", uid=ALICE)
        assert (answer.status, b"nobody has" in answer.body) == (404, True)


def test_rights_never_known(served: Served, slurm: StandIn, people: None) -> None:
    """As long as Slurm never said who may see what, a user sees the own jobs only."""
    from dataclasses import replace

    slurm.jobs(ROWS)
    served.poller.poll()
    served.poller.state = replace(served.poller.state, rights=None)
    _, answer = get(served, "/v1/jobs?all_users=1", ALICE)
    assert [job["job_id"] for job in answer["jobs"]] == ["1"]


def test_sync(served: Served, slurm: StandIn, people: None) -> None:
    """Operators have Slurm asked now; users do not."""
    slurm.rights(users="op|Operator|\n")
    served.poller.poll(thorough=True)
    slurm.jobs(ROWS)
    assert served.ask("POST", "/v1/sync", uid=ALICE).status == 403
    answer = served.ask("POST", "/v1/sync", uid=OPERATOR)
    assert (answer.status, json.loads(answer.body)) == (200, {"jobs_changed": 3})


def test_sync_while_slurm_is_down(served: Served, slurm: StandIn) -> None:
    """A poll that fails says why to whom it was asked by; the jobs' answer warns of it, without what Slurm said."""
    slurm.jobs([], error="Connection refused")
    answer = served.ask("POST", "/v1/sync")
    assert answer.status == 503
    assert b"Connection refused" in answer.body
    assert get(served, "/v1/jobs")[1]["warnings"] == ["Slurm does not answer; what is shown of its jobs may be old"]
