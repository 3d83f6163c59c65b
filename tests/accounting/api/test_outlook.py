# SPDX-License-Identifier: MIT
"""`GET /v1/intensity` and `/v1/power` over HTTP: any user may ask, and a bad question is one clear line."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from accounting.served import Served
from accounting.slurm_programs import StandIn

USER = 54001


def get(served: Served, target: str, uid: int = USER) -> tuple[int, Any]:
    answer = served.ask("GET", target, uid=uid)
    return answer.status, json.loads(answer.body)


def test_any_user_may_ask_for_intensities(served: Served, slurm: StandIn) -> None:
    """Slots on their borders, each with value, source, scope and whether it is an estimate; the site's zone and PUE."""
    slurm.rights(private="all")
    now = int(time.time())
    status, found = get(served, f"/v1/intensity?start={now - 3000}&end={now + 3000}")

    assert status == 200
    assert set(found) == {"zone", "slots", "forecast", "forecast_at", "pue"}
    assert (found["zone"], found["pue"], found["forecast"], found["forecast_at"]) == ("DE", 1.3, [], None)
    starts = [slot["start"] for slot in found["slots"]]
    assert starts == list(range((now - 3000) // 900 * 900, now + 1, 900))
    assert found["slots"][0] == {
        "start": starts[0],
        "end": starts[0] + 900,
        "value": 344.14,
        "source": "Ember 2024 via Our World in Data, yearly average, lifecycle",
        "scope": "lifecycle",
        "estimated": False,
    }
    assert get(served, "/v1/intensity?zone=ca-qc")[1]["slots"][-1]["value"] == 2.6


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/v1/intensity?zone=Germny", "did you mean DE (Germany)"),
        ("/v1/intensity?start=9&end=3", "end is before start"),
        ("/v1/intensity?start=0&end=9000000", "more than 35 days"),
        ("/v1/intensity?start=soon", "start: "),
        ("/v1/power", "partition: "),
        ("/v1/power?partition=", "partition: "),
    ],
)
def test_a_bad_question(served: Served, target: str, says: str) -> None:
    """Status 400 and what is wrong."""
    status, found = get(served, target)

    assert status == 400
    assert says in found["detail"]


def test_power_of_nobody(served: Served, slurm: StandIn) -> None:
    """Where nothing may be said, nothing is: unknown is null, and never 0."""
    slurm.rights(private="jobs")
    status, found = get(served, "/v1/power?partition=p&gres=a100")

    assert status == 200
    assert (found["basis"], found["joules_per_cpu_second"], found["joules_per_gpu_second"]) == (None, None, None)


@pytest.mark.each_kind
def test_jobs_by_name(served: Served, slurm: StandIn) -> None:
    """`names` takes jobs of exactly these names."""
    slurm.jobs(
        [{"JobIDRaw": "7", "JobID": "7", "JobName": "bert"}, {"JobIDRaw": "8", "JobID": "8", "JobName": "bertha"}]
    )
    served.poller.poll()
    found = get(served, "/v1/jobs?all_users=1&names=bert,gpt&start=1349999000", uid=0)[1]

    assert [job["name"] for job in found["jobs"]] == ["bert"]
    assert [job["job_id"] for job in get(served, "/v1/jobs?all_users=1&names=bert,bertha", uid=0)[1]["jobs"]] == [
        "7",
        "8",
    ]
