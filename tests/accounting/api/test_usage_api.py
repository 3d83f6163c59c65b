# SPDX-License-Identifier: MIT
"""Sums over HTTP: whose jobs are in them, the form of the answer, and what is refused."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from accounting.api.test_api import (
    ALICE,
    ANNA,
    BOB,
    CARL,
    NAMES,
    OPERATOR,
    ROWS,
    TREE,
    deliver,
    get,
    people,
)
from accounting.samples import SLOT, job_slot, ledger, node_slot, segment
from accounting.served import Served
from accounting.slurm_programs import StandIn
from carbon_acct.api.usage import AdviceAnswer, FiguresAnswer, PlaceAnswer, UsageAnswer, WindowAnswer

__all__ = ["people"]

MONTH = "month=2012-10"
ENERGY = {"alice": "1100", "bob": "1100", "carl": "1100"}
USERS = "op|Operator|\nanna|None|physics\nalice|None|\n"

MATRIX: list[tuple[str, int, str, list[str]]] = [
    ("none", ALICE, "", ["alice"]),
    ("none", ALICE, "all_users=1", ["alice", "bob", "carl"]),
    ("none", ALICE, "users=bob", ["bob"]),
    ("usage,users", ALICE, "all_users=1", ["alice", "bob", "carl"]),
    ("jobs", ALICE, "", ["alice"]),
    ("jobs", ALICE, "all_users=1", ["alice"]),
    ("jobs", ALICE, "users=bob", []),
    ("jobs", ALICE, "all_users=1&accounts=qcd", []),
    ("jobs", ALICE, f"users={BOB}", []),
    ("jobs", ANNA, "all_users=1", ["alice", "bob"]),
    ("jobs", ANNA, "", []),
    ("jobs", OPERATOR, "all_users=1", ["alice", "bob", "carl"]),
    ("jobs", 64030, "all_users=1", ["alice", "bob", "carl"]),
    ("jobs", 54321, "all_users=1", []),
    ("jobs", CARL, "all_users=1", []),
    ("none", CARL, "all_users=1", ["alice", "bob", "carl"]),
    ("jobs", 0, "", ["alice", "bob", "carl"]),
    ("jobs", 0, f"users={BOB},alice", ["alice", "bob"]),
]
"""The matrix of GET /v1/jobs (test_api.py): PrivateData, who asks, for what, and whose jobs may be in the sums."""


@pytest.fixture
def filled(served: Served, slurm: StandIn, people: None) -> Served:
    """A job each of alice, bob and carl, with the same energy; bob's failed."""
    slurm.jobs([row | {"State": "FAILED" if row["User"] == "bob" else "COMPLETED"} for row in ROWS])
    served.poller.poll(thorough=True)
    rows = [
        record
        for row in ROWS
        for record in (ledger(job_id=int(row["JobID"])), job_slot(job_id=int(row["JobID"]), cpu_us=0))
    ]
    assert deliver(served, segment([*rows, node_slot()]))[1]["refused"] == []
    return served


@pytest.mark.each_kind
def test_sums_are_as_private_as_jobs(filled: Served, slurm: StandIn) -> None:
    """Under each PrivateData no row, count, total, rank, rest, comparison or waste holds a job that the caller may not see."""
    known = ""
    for private, uid, target, seen in sorted(MATRIX):
        if private != known:
            slurm.rights(private=private, users=USERS, tree=TREE)
            filled.poller.poll(thorough=True)
            known = private
        asked = f"/v1/usage?{MONTH}&by=user&compare=previous&waste=1&{target}"
        case = (private, NAMES.get(uid, uid), target)
        status, answer = get(filled, asked, uid)
        listed = get(filled, f"/v1/jobs?duplicates=0&{target}", uid)
        if status == 404:  # a name that nobody has, as far as the caller may see
            assert (listed[0], seen) == (404, []), case
            continue
        assert status == 200, case
        assert [row["key"]["user"] for row in answer["rows"]] == seen, case
        assert answer["total"]["figures"]["jobs"] == len(seen), case
        assert answer["total"]["figures"]["energy_uj"] == (str(1100 * len(seen)) if seen else None), case
        failed = answer["total"]["waste"]["failed"]
        assert failed["jobs"] == ("bob" in seen), case
        _, ranked = get(filled, f"{asked}&top=1", uid)
        assert len(ranked["rows"]) == min(1, len(seen)), case
        assert (ranked["others"] or {"rows": 0})["rows"] == max(0, len(seen) - 1), case
        _, later = get(filled, f"/v1/usage?start=2012-10-13&end=2012-10-14&compare=previous&by=user&{target}", uid)
        assert [row["key"]["user"] for row in later["rows"]] == seen, case
        assert later["total"]["previous"]["jobs"] == len(seen), case
        assert sorted({job["user"] for job in listed[1]["jobs"]}) == seen, case


@pytest.mark.each_kind
def test_site_is_for_those_who_see_totals(filled: Served, slurm: StandIn) -> None:
    """Idle and system are told as the status is; the parts add up to what the meters counted."""
    for private, status in (("jobs", 403), ("usage", 403), ("none", 200)):
        slurm.rights(private=private, users=USERS, tree=TREE)
        filled.poller.poll(thorough=True)
        assert get(filled, f"/v1/usage?{MONTH}&site=1", ALICE)[0] == status
    site = get(filled, f"/v1/usage?{MONTH}&site=1", OPERATOR)[1]["site"]
    assert [site[part]["energy_uj"] for part in ("jobs", "idle", "system")] == ["3300", "350", "200"]
    assert site["components"]["cpu"] == {
        "metered_uj": "1500",
        "jobs_uj": "3000",
        "idle_uj": "300",
        "system_uj": "200",
    }
    assert (site["pue"], site["measured_percent"], site["node_s"]) == (1.3, 100.0, 900.0)


def test_advice_is_on_the_callers_own_jobs(filled: Served, slurm: StandIn) -> None:
    """Who asks for all sums gets advice on the own jobs only, and none where there are none."""
    slurm.rights(private="none", users=USERS, tree=TREE + "qcd||bob\nroot||op\n")
    filled.poller.poll(thorough=True)
    asked = f"/v1/usage?{MONTH}&all_users=1&advice=1"
    (advice,) = get(filled, asked, ALICE)[1]["advice"]
    # Nothing of two CPUs was used for 60 s: all that flowed without use, a quarter of the CPUs' energy.
    assert (advice["rule"], advice["energy_uj"], advice["jobs"]) == ("cpu_unused", "250", ["1"])
    assert get(filled, asked, OPERATOR)[1]["advice"] == []
    for narrowed, found in (
        ("accounts=nosuch", []),
        ("partitions=nosuch", []),
        ("clusters=nosuch", []),
        ("states=FAILED", []),
        ("accounts=physics&states=COMPLETED&users=bob", [advice]),
    ):
        assert get(filled, f"{asked}&{narrowed}", ALICE)[1]["advice"] == found, narrowed


def test_window_and_form(filled: Served) -> None:
    """The head says whose days; the keys are those of the contract, and null where nothing was asked for."""
    _, answer = get(filled, f"/v1/usage?{MONTH}")
    assert answer["window"] == {
        "start": 1349049600,
        "end": 1351728000,
        "timezone": "UTC",
        "month": "2012-10",
        "first_day": "2012-10-01",
        "last_day": "2012-10-31",
        "over": True,
    }
    assert (answer["rows"], answer["others"], answer["previous_window"], answer["site"]) == ([], None, None, None)
    assert (answer["total"]["previous"], answer["total"]["waste"], answer["advice"]) == (None, None, [])
    text = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text()
    named = set(re.findall(r"[`\"]([a-z_]+)[`\"]", text.split("## `GET /v1/usage`")[1].split("\n## ")[0]))
    for kind in (UsageAnswer, WindowAnswer, FiguresAnswer, AdviceAnswer, PlaceAnswer):
        assert {field.name for field in fields(kind)} <= named


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("month=2012-13", "month"),
        ("month=this&start=2012-10-01", "does not go with"),
        ("by=tea", "none of user, account"),
        ("by=day,month", "do not go together"),
        ("by=day&compare=previous", "does not go with compare"),
        ("by=user,account,qos,state,cluster", "more than 4"),
        ("compare=tea", "none of previous, year"),
        ("start=1349049601", "no midnight of UTC"),
        ("states=TEA", "not a job state"),
        ("names=train", "ask /v1/jobs"),
        ("jobs=12", "ask /v1/jobs"),
        ("nodes=n1", "ask /v1/jobs"),
        ("top=0", "top"),
        ("start=2012-10-02&end=2012-10-02", "not after start"),
    ],
)
def test_bad_parameters(query: str, reason: str, asked_once: Any) -> None:
    """What cannot be summed is refused with one line that names it."""
    status, answer = asked_once(f"/v1/usage?{query}")
    assert status == 400
    assert reason in answer["detail"]
    assert "\n" not in answer["detail"]


@pytest.fixture(scope="module")
def asked_once(munge_socket: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One aggregator for all bad parameters."""
    from accounting.samples import new_site
    from accounting.served import serve
    from carbon_acct.sync.slurm import Poller

    folder = tmp_path_factory.mktemp("usage")
    site = new_site(folder / "site")
    poller = Poller(site, StandIn(folder / "bin").programs, "sacct", 60)
    poller.poll()
    for served in serve(site, poller, munge_socket):
        yield partial(get, served)
    site.database.close()


@pytest.mark.each_kind
def test_by_time_and_state(filled: Served) -> None:
    """Days and weeks are dates of the site, a month is a month, and a state is without the user who cancelled."""
    for by, key in (("day", "2012-10-12"), ("week", "2012-10-08"), ("month", "2012-10")):
        _, answer = get(filled, f"/v1/usage?{MONTH}&by={by},state")
        keys = [(row["key"][by], row["key"]["state"], row["figures"]["jobs"]) for row in answer["rows"]]
        assert keys == [(key, "COMPLETED", 2), (key, "FAILED", 1)]
    assert SLOT == 1_350_000_000
