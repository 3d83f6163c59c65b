# SPDX-License-Identifier: MIT
"""Bad input, as hostile users, broken nodes and strangers make it: refused with a reason, counted, and nothing good lost."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text

from accounting.api.test_api_metrics import metrics, refused
from accounting.samples import SLOT, header, job_slot, ledger, node_share, node_slot, segment, share, trailer
from accounting.served import Served, serve
from accounting.slurm_programs import StandIn
from carbon_acct.delivery.segment import MAX_LINES, MAX_REFUSED
from carbon_collector import munge
from carbon_collector.http import request

BODY = segment([ledger(), job_slot(), node_slot()])


def deliver(served: Served, body: bytes = BODY) -> tuple[int, Any]:
    """Status and content of the answer, without its credential, which is another each time (test_receipts.py)."""
    answer = served.ask("POST", "/v1/segments", body)
    content = json.loads(answer.body)
    content.pop("credential", None)
    return answer.status, content


def stored(served: Served) -> list[tuple[Any, ...]]:
    """Every row of every table that nodes fill."""
    tables = ("segment", "ledger", "node_job_slot", "node_slot", "job_slot", "node", "cluster")
    with served.site.database.read() as session:
        return [(t, *row) for t in tables for row in session.execute(text(f"SELECT * FROM {t} ORDER BY 1, 2, 3"))]


def test_expired(served: Served) -> None:
    """A credential that is older than its time to live is refused by munged."""
    command = ["munge", "--ttl=1", "--string", munge.digest(BODY), "--socket", served.munge_socket]
    credential = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    made = time.time()
    while time.time() < made + 2.1:  # it is time itself that is waited for
        time.sleep(0.1)
    answer = served.send("POST", "/v1/segments", BODY, credential)
    assert (answer.status, json.loads(answer.body)["detail"]) == (
        401,
        "the credential is refused: Expired credential",
    )
    assert refused(served) == {"credential": 1}
    assert deliver(served)[0] == 200


def test_without_munged(served: Served, tmp_path: Path) -> None:
    """The accounting host's own fault is not the caller's: it is to come again, and is counted apart."""
    for deaf in serve(served.site, served.poller, str(tmp_path / "socket")):
        answer = deaf.send("POST", "/v1/segments", BODY, served.credential(munge.digest(BODY)))
        assert (answer.status, json.loads(answer.body)["detail"]) == (
            503,
            "munged does not answer on the aggregator's host; its log says why",
        )
        assert refused(deaf) == {"munge": 1}
    assert deliver(served)[0] == 200


def test_forged_by_another_munged(served: Served) -> None:
    """Neither a credential of another realm's shape, nor one with a byte changed, nor one that is none, names anybody."""
    good = served.credential(munge.digest(BODY))
    middle = len(good) // 2
    turned = good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :]
    for forged in (turned, good[:-2], "MUNGE:AAAA:", "\x7f", "A" * 20_000, "A" * 40_000):
        assert served.send("POST", "/v1/segments", BODY, forged).status == 401
    assert request("POST", served.url, "/v1/segments", BODY, {}).status == 401
    assert refused(served) == {"credential": 6, "no_credential": 1}
    assert served.send("POST", "/v1/segments", BODY, good).status == 200


def test_another_node(served: Served, slurm: StandIn) -> None:
    """A node speaks for itself only, and for its own cluster; each refusal has its own class."""
    slurm.says("sinfo", "n1 localhost 127.0.0.1\nn5 far 192.0.2.7\n")
    served.poller.poll(thorough=True)
    status, answer = deliver(served, segment([ledger()], node="n5"))
    assert (status, "may not deliver for node n5" in answer["detail"]) == (403, True)
    assert deliver(served, segment([ledger()], node="n9"))[0] == 403
    assert deliver(served, segment([ledger()], cluster="other"))[0] == 403
    assert served.ask("POST", "/v1/segments", BODY, uid=54001).status == 403
    assert refused(served) == {"foreign_node": 1, "unknown_node": 1, "foreign_cluster": 1, "not_root": 1}
    assert not any(row[0] in ("node", "segment") for row in stored(served))


def test_unknown_node_while_slurm_is_silent(served: Served, slurm: StandIn) -> None:
    """A node that may be newer than the list of nodes is not refused for good while Slurm cannot be asked."""
    (slurm.folder / "sinfo.txt").unlink()
    served.poller._nodes_at = -1000.0  # the list is old
    status, answer = deliver(served, segment([ledger()], node="n9"))
    assert (status, "try again" in answer["detail"]) == (503, True)
    assert deliver(served)[0] == 200


@pytest.mark.each_kind
def test_replayed_body(served: Served) -> None:
    """The same body under a new credential gets the same answer, and the database stays as it was, to the byte."""
    first = deliver(served)
    rows = stored(served)
    assert [deliver(served) for _ in range(3)] == [first] * 3
    assert stored(served) == rows


@pytest.mark.parametrize("who", ["root", "user", "nobody"])
def test_a_hundred_megabytes_of_nonsense(served: Served, who: str) -> None:
    """They are refused with a reason, unread; nothing of them is kept, and a node is served at once after."""
    nonsense = bytes(range(256)) * 400_000
    headers = {}
    if who != "nobody":
        credential = served.credential(munge.digest(nonsense), 0 if who == "root" else 54001)
        headers = {"Authorization": f"MUNGE {credential}"}
    answer = request("POST", served.url, "/v1/segments", nonsense, headers, timeout_s=60)
    expected = {"nobody": (401, "missing"), "user": (403, "only root"), "root": (413, "larger than")}[who]
    assert (answer.status, expected[1] in json.loads(answer.body)["detail"]) == (expected[0], True)
    assert deliver(served)[0] == 200


def test_millions_of_lines(served: Served) -> None:
    """A body of nothing but line ends costs no memory for each of them, and one of bad records has a bound."""
    head = BODY.partition(b"\n")[0] + b"\n"
    assert deliver(served, head + b"\n" * (7 << 20))[0] == 413
    assert deliver(served, head + b"{}\n" * (MAX_LINES + 9))[0] == 413
    status, answer = deliver(served, segment([b"{}"] * (MAX_REFUSED + 1)))
    assert (status, "of its records are bad" in answer["detail"]) == (422, True)
    status, answer = deliver(served, segment([ledger(), *[b"{}"] * (MAX_REFUSED - 1)], sequence=2))
    assert (status, answer["accepted"]) == (200, 1)


BAD = {
    "negative": job_slot({"cpu": share(-1)}),
    "text for a number": job_slot({"cpu": share(1) | {"energy_uj": "1000"}}),
    "a float": job_slot({"cpu": share(1) | {"energy_uj": 1.5}}),
    "true": job_slot({"cpu": share(1) | {"energy_uj": True}}),
    "NaN": json.dumps(job_slot({"cpu": share(1) | {"energy_uj": float("nan")}})).encode(),
    "infinite": json.dumps(job_slot({"cpu": share(1) | {"energy_uj": float("inf")}})).encode(),
    "1e400": json.dumps(job_slot()).replace('"energy_uj": 1000', '"energy_uj": 1e400').encode(),
    "beyond 64 bits": job_slot({"cpu": share(2**63)}),
    "thousands of digits": json.dumps(job_slot()).replace("1000", "9" * 5000).encode(),
    "cpu above its ceiling": job_slot({"cpu": share(20_000 * 120 * 1_000_000 + 1)}),
    "dram above its ceiling": job_slot({"dram": share(5_000 * 120 * 1_000_000 + 1)}),
    "gpu above its ceiling": job_slot({"gpu": share(50_000 * 120 * 1_000_000 + 1)}),
    "other above its ceiling": job_slot({"other": share(100_000 * 120 * 1_000_000 + 1)}),
    "a node above its ceiling": node_slot({"cpu": node_share(2**62, 0, 0)}),
    "no such component": job_slot({"tea": share()}),
    "in the future": job_slot(slot=SLOT + 900 * 2_000_000),
    "no slot": job_slot(slot=SLOT + 1),
    "no such type": {"type": "tea"},
    "no object": b"[]",
    "broken UTF-8": b'{"type": "ledger", "user": "\xff\xfe"}',
    "nested without end": b"[" * 100_000,
    "a terminal's escape": ledger(user="\x1b]0;owned\x07"),
    "a line of its own": ledger(account="x\n{}"),
    "a zero byte": ledger(partition="a\x00b"),
    "a run that is no word": ledger(run="restart:0'; DROP TABLE job; --"),
}


def test_bad_records(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Each bad record of a segment is refused by its line with a reason, all of them are counted, the good ones stored;
    neither answer nor log echoes what was sent.
    """
    rows = [ledger(job_id=1), *BAD.values(), job_slot(job_id=1), node_slot()]
    status, answer = deliver(served, segment(rows))
    assert (status, answer["accepted"]) == (200, 3)
    assert [line["line"] for line in answer["refused"]] == list(range(3, 3 + len(BAD)))
    assert all(line["reason"] for line in answer["refused"])
    counted = {k: n for k, n in metrics(served).items() if k.startswith("carbon_acct_records_refused_total")}
    assert sum(counted.values()) == len(BAD)
    assert counted["carbon_acct_records_refused_total{reason=ceiling}"] == 5
    said = json.dumps(answer) + caplog.text
    assert "DROP" not in said
    assert "owned" not in said
    assert "\x1b" not in said
    assert len([row for row in stored(served) if row[0] in ("ledger", "node_job_slot", "node_slot")]) == 3


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (header(version=2), "version"),
        (header(version=0), "version"),
        (header(cluster="demo'; DROP TABLE job; --"), "segment"),
        (header(node="n1\x1b[2J"), "segment"),
        (header(node="../../etc"), "segment"),
        (header(sequence=-1), "segment"),
        (header(type="tea"), "segment"),
    ],
)
def test_bad_headers(served: Served, head: dict[str, Any], kind: str) -> None:
    """A version of the format that is not known, and names that no node has, are refused whole, with a class each."""
    lines = json.dumps(head).encode() + b"\n"
    assert deliver(served, lines + trailer(lines, 0))[0] == 422
    assert refused(served) == {kind: 1}
    assert deliver(served)[0] == 200


@pytest.mark.each_kind
def test_sql_is_data(served: Served, slurm: StandIn) -> None:
    """Names that are SQL are stored and asked for as names."""
    name = "x'; DROP TABLE ledger; --"
    assert deliver(served, segment([ledger(account=name, partition='" OR 1=1 --')]))[1]["accepted"] == 1
    slurm.jobs([{"Account": name, "JobName": "$(id) \x1b[31m '; --"}])
    served.poller.poll()
    for parameter in ("users", "accounts", "partitions", "qos", "clusters"):
        for value in ("' OR '1'='1", '" OR ""="', "%", "_", "x' UNION SELECT 1 --"):
            answer = served.ask("GET", f"/v1/jobs?{parameter}={quote(value)}")
            if parameter in ("users", "qos"):  # as sacct: a name that nobody has is an error
                assert answer.status == 404
            else:
                assert (answer.status, json.loads(answer.body)["jobs"]) == (200, [])
    (job,) = json.loads(served.ask("GET", f"/v1/jobs?accounts={quote(name)}").body)["jobs"]
    assert job["account"] == name


NOT_HEEDED = {
    "jobs?users=a%00b": "users: holds a NUL character",
    "jobs?after=%00:1": "after: holds a NUL character",
    "power?partition=%00": "partition: holds a NUL character",
    "jobs?user=alice": "'user': no such parameter; there are: accounts, after, all_users, ",
    "usage?by=user&by=account": "by: given twice",
    "unmatched?start=1": "'start': no such parameter; there are: after",
}


@pytest.mark.each_kind
def test_a_parameter_that_cannot_be_heeded(served: Served) -> None:
    """A parameter that would be left out is refused by its name, on each kind of database, and never as its fault."""
    for question, reason in NOT_HEEDED.items():
        answer = served.ask("GET", f"/v1/{question}")
        assert (answer.status, json.loads(answer.body)["detail"][: len(reason)]) == (400, reason)
    assert refused(served) == {"parameter": len(NOT_HEEDED)}


def test_a_path_with_a_slash_at_its_end(served: Served) -> None:
    """A path that is none is not found; nobody is sent to what the Host header says."""
    answer = served.ask("GET", "/v1/jobs/")
    assert (answer.status, json.loads(answer.body)) == (404, {"detail": "not found"})


def test_storm_is_not_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """A node that is refused again and again is a line for each kind of reason, a stranger with many credentials none."""
    from carbon_acct.logs import Quiet

    quiet = Quiet()
    for sequence in range(25):
        deliver(served, segment([b"tea"], sequence=sequence + 1))
        deliver(served, segment([ledger()], node="n9", sequence=sequence + 1))
        served.send("POST", "/v1/segments", BODY, "MUNGE:AAAA:")
    passed = [record for record in caplog.records if quiet.filter(record)]
    assert len(caplog.records) >= 50
    assert len(passed) == 2
    assert refused(served) == {"unknown_node": 25, "credential": 25}
