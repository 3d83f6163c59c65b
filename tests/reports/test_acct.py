# SPDX-License-Identifier: MIT
"""A report's figures are those that `carbon-acct --by ... -P` prints of the same window, to the last digit."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from accounting.conftest import munge_socket, poller, served, slurm
from accounting.samples import configure, job, job_slot, ledger, new_site, node_slot, segment, share
from carbon_acct.cli.acct import main as carbon_acct
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.sync.jobs import record_jobs
from carbon_reports import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounting.served import Served
    from carbon_acct.site import Site

__all__ = ["munge_socket", "poller", "served", "slurm"]

ZONE = "America/New_York"
SLOT_S, SLOT_US = 900, 900 * 10**6
START = int(datetime(2012, 10, 2, tzinfo=ZoneInfo(ZONE)).timestamp())
NOW = START + 40 * 86_400
JOBS = 40
STATES = ("COMPLETED", "COMPLETED", "FAILED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", "CANCELLED by 0", "NODE_FAIL")
SHARED = ("Jobs", "EnergyRaw", "EstimatedEnergyRaw", "FacilityEnergyRaw", "CarbonRaw", "CarbonMarketRaw")
OF_DAYS = ("Jobs", "EnergyRaw", "EstimatedEnergyRaw", "FacilityEnergyRaw", "CarbonRaw")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An October of forty jobs: some over midnight, some with GPUs at idle power, some with CPUs that were not used."""
    found = new_site(tmp_path / "site", site_timezone=ZONE)
    random = Random(21)
    jobs, rows = [], [node_slot(slot=START - START % SLOT_S)]
    for number in range(1, JOBS + 1):
        begin = START - START % SLOT_S + random.randrange(27 * 96) * SLOT_S
        slots = random.randrange(1, 130)
        run = {"job_id": number, "opened": begin}
        gpus = [f"GPU-{n}" for n in range(random.choice((0, 0, 2)))]
        who = {"user": f"u{number % 5}", "account": f"a{number % 3}", "partition": f"p{number % 2}"}
        rows.append(ledger(**run, closed=begin + slots * SLOT_S, uid=2000 + number % 5, gpus=gpus, **who))
        for at in range(slots):
            parts = {"cpu": share(random.randrange(10**10), metered_us=SLOT_US)}
            if gpus:
                parts["gpu"] = share(random.randrange(2 * 10**11), metered_us=SLOT_US)
            used = {"alloc_us": SLOT_US, "cpu_us": random.randrange(SLOT_US)}
            rows.append(job_slot(parts, **run, slot=begin + at * SLOT_S, **used))
        state, end = random.choice(STATES), begin + slots * SLOT_S
        times = {"submit": begin, "eligible": begin, "start": begin, "end": end, "elapsed_s": slots * SLOT_S}
        ids = {"job_id_raw": number, "job_id": str(number), "uid": 2000 + number % 5, "state": state}
        jobs.append(job(**ids, **times, **who, alloc_tres=f"cpu=2,gres/gpu={len(gpus)}" if gpus else "cpu=2"))
    with found.database.write() as session:
        record_jobs(session, jobs, found.terms)
        parsed = parse_segment(segment(rows, created=NOW), NOW)
        assert parsed.refused == ()
        store_segment(session, parsed, found.terms, NOW)
    yield found
    found.database.close()


@pytest.fixture
def folder(site: Site, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of that October, and a configuration with which carbon-acct finds the aggregator."""
    url = site.database.engine.url.render_as_string(hide_password=False)
    where = {"collector_aggregators": served.url, "slurm_munge_socket": served.munge_socket}
    path = configure(tmp_path, site_timezone=ZONE, aggregator_database=url, **where)
    monkeypatch.setenv("CARBON_ACCT_CONF", str(path))
    words = [
        "monthly",
        "--month",
        "2012-10",
        "--output",
        str(tmp_path / "reports"),
        "--format",
        "csv,json",
        "--no-jobs",
    ]
    assert cli.main(words) == 0
    return tmp_path / "reports/2012-10"


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file of the report."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, str]]:
    """What `carbon-acct -P` prints of October."""
    capsys.readouterr()
    assert carbon_acct(["-a", "-P", "--month", "2012-10", *words]) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines(), delimiter="|"))


def test_figures_are_those_of_carbon_acct(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Users, accounts, days, the month and each rule of waste: every figure of the report is the text that it prints."""
    for name, word, head, columns in (
        ("users", "user", "User", SHARED),
        ("accounts", "account", "Account", SHARED),
        ("days", "day", "Day", OF_DAYS),
    ):
        shown = {row[head]: [row[column] for column in columns] for row in rows(folder / f"{name}.csv")}
        expected = {row[head]: [row[column] for column in columns] for row in printed(capsys, "--by", word)}
        assert len(expected) > 2
        for label, figures in shown.items():
            nothing = ["0", *[""] * (len(columns) - 1)]
            assert figures == expected.pop(label, nothing), (name, label)
        assert expected == {}
    (whole,) = printed(capsys, "--waste")
    october = rows(folder / "months.csv")[-1]
    assert [october[c] for c in ("EnergyRaw", "CarbonRaw")] == [whole[c] for c in ("EnergyRaw", "CarbonRaw")]
    found = {row["Rule"]: row for row in rows(folder / "waste.csv")}
    assert found.keys() == {"failed", "timeout", "out_of_memory", "cancelled", "gpu_idle", "cpu_unused"}
    for rule, row in found.items():
        stem = rule.title().replace("_", "")
        assert [row["EnergyRaw"], row["CarbonRaw"]] == [whole[f"{stem}EnergyRaw"], whole[f"{stem}CarbonRaw"]], rule
        assert int(row["EnergyRaw"]) > 0
    report: dict[str, Any] = json.loads((folder / "report.json").read_text("ascii"))
    assert sum(each["used_uj"] for each in report["waste"]) < report["total"]["energy_uj"]
