# SPDX-License-Identifier: MIT
"""The site's figures in /metrics, and the dashboard and the alert rules that are made of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from accounting.samples import job, job_slot, ledger, node_share, node_slot, segment, share
from accounting.served import Served
from accounting.slurm_programs import StandIn
from carbon_acct.api.site_figures import Figures, SiteFigures, metrics
from carbon_acct.queries.nodes import DroppedTotal, Loss
from carbon_acct.queries.site_energy import Figures as Amounts
from carbon_acct.queries.site_energy import SiteEnergy
from carbon_acct.queries.totals import Balance, Conservation
from carbon_acct.sync.jobs import record_jobs
from carbon_collector.http import request
from collector.process import eventually

MONITORING = Path(__file__).parents[3] / "accounting/monitoring"
API = Path(__file__).parents[3] / "docs/http-api.md"
NAME = re.compile(r"\bcarbon_acct_\w+")
SELECTOR = re.compile(r'(carbon_acct_\w+)\{(\w+)="(\w+)"\}')


def expressions() -> dict[str, str]:
    """Every query of the dashboard and the rules, by what it is for."""
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    rules = yaml.safe_load((MONITORING / "prometheus-rules.yml").read_text())
    found = {f"{p['title']} {t['refId']}": t["expr"] for p in board["panels"] for t in p["targets"]}
    return found | {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}


@pytest.fixture
def samples(served: Served) -> dict[str, list[dict[str, str]]]:
    """What a running aggregator with some deliveries shows: name -> the labels of its samples."""
    at = int(time.time()) // 900 * 900
    parts = {"cpu": node_share(1500, 300, 200), "gpu": node_share(800_000_000, 800_000_000, 0)}
    rows = [ledger(opened=at), job_slot({"cpu": share()}, slot=at, opened=at), node_slot(parts, slot=at)]
    for body in (segment(rows), segment([job_slot(slot=at + 90000)], sequence=2), b"tea"):
        served.ask("POST", "/v1/segments", body)
    with served.site.database.write() as session:
        record_jobs(session, [job(submit=at, start=at, end=at + 60)], served.site.terms)
    served.figures.read()
    counted = {"carbon_acct_unmatched_ledgers", "carbon_acct_rows_apart"}  # beside the requests
    eventually(lambda: counted <= exposed(served).keys(), "what is counted is shown")
    return exposed(served)


def exposed(served: Served) -> dict[str, list[dict[str, str]]]:
    text = request("GET", served.url, "/metrics", b"", {}).body.decode()
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels | {"": str(sample.value)})
    return found


def value(samples: dict[str, list[dict[str, str]]], name: str, **labels: str) -> float:
    """The one sample of a metric with these labels."""
    (found,) = [s for s in samples[name] if labels.items() <= s.items()]
    return float(found[""])


def test_every_metric_of_dashboard_and_alerts_is_there(samples: dict[str, list[dict[str, str]]]) -> None:
    """Each metric that a panel or a rule names is one of a running aggregator, with the labels that it asks for."""
    queries = expressions()
    named = {name for text in queries.values() for name in NAME.findall(text)}
    lacking = {name for name in named if name not in samples}
    wrong = [
        (what, name, label)
        for what, text in queries.items()
        for name, label, wanted in SELECTOR.findall(text)
        if not any(s.get(label) == wanted for s in samples[name])
    ]

    assert len(queries) > 25
    # It has samples only where the site states a contract.
    assert lacking == {"carbon_acct_day_market_carbon_grams"}
    assert wrong == []


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    """Prometheus' own checker reads the rules, and each query of the dashboard as one."""
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    recorded = [{"record": f"panel:{i}", "expr": text} for i, text in enumerate(expressions().values())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    checking = ["promtool", "check", "rules", str(MONITORING / "prometheus-rules.yml"), str(path)]
    done = subprocess.run(checking, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_described(samples: dict[str, list[dict[str, str]]]) -> None:
    """docs/http-api.md has each metric that there is."""
    text = API.read_text()
    plain = {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples if not name.endswith("_created")}

    assert {name for name in plain if f"`{name}`" not in text} == set()


@pytest.mark.each_kind
def test_the_sites_energy(samples: dict[str, list[dict[str, str]]]) -> None:
    """Energy by component and where it went, the difference, and the emissions of the day are what was delivered."""
    name = "carbon_acct_energy_joules_total"
    cpu = [value(samples, name, component="cpu", to=to) for to in ("jobs", "idle", "system")]

    assert cpu == [0.001, 0.0003, 0.0002]
    assert value(samples, name, component="gpu", to="idle") == 800
    assert value(samples, "carbon_acct_conservation_difference_joules", component="cpu") == 0
    assert value(samples, "carbon_acct_day_carbon_grams", to="idle") > 0
    assert value(samples, "carbon_acct_nodes", delivered="hour") == 1
    assert value(samples, "carbon_acct_simulated") == 0


@pytest.mark.each_kind
def test_reading_stores_nothing(served: Served, samples: dict[str, list[dict[str, str]]]) -> None:
    """The figures of a day for which no factor is stored yet leave the database as it was."""
    from carbon_acct.db import checksum

    def now() -> str:
        with served.site.database.read() as session:
            return checksum.checksum(checksum.figures(session))

    before = now()
    served.figures.read()
    assert now() == before


def test_nobody_is_in_them(served: Served, slurm: StandIn, samples: dict[str, list[dict[str, str]]]) -> None:
    """No sample has a label for a user, an account, a job or a node."""
    labels = {label for many in samples.values() for s in many for label in s} - {""}

    assert labels <= {"component", "to", "delivered", "route", "method", "status", "reason", "le", "version"}


def test_an_away_database_leaves_them_out(served: Served, samples: dict[str, list[dict[str, str]]]) -> None:
    """While the database stands still the figures are missing, and not old."""
    served.site.database.stalled = True
    served.figures.read()
    served.site.database.stalled = False

    assert "carbon_acct_energy_joules_total" not in exposed(served)


energies = st.integers(0, 10**18)


@given(energies, energies, energies, energies)
def test_the_parts_are_the_balance(metered: int, jobs: int, idle: int, system: int) -> None:
    """Whatever the balance is, the metrics are its parts in joules, and the difference is what is left of them."""
    balance = Balance(metered, jobs, idle, system)
    energy = Conservation({"cpu": balance}, simulated=True)
    day = SiteEnergy(Amounts(), Amounts(), Amounts(carbon_ug=5))
    figures = Figures(time.time(), energy, energy, day, DroppedTotal(0, Loss(), Loss()), None, 3, [0.0, 7000.0])
    found: dict[tuple[str, ...], Any] = {
        (s.name, *s.labels.values()): s.value for family in metrics(figures, 5) for s in family.samples
    }

    assert found["carbon_acct_energy_joules_total", "cpu", "jobs"] == jobs / 1_000_000
    assert found["carbon_acct_energy_joules_total", "cpu", "idle"] == idle / 1_000_000
    assert found["carbon_acct_energy_joules_total", "cpu", "system"] == system / 1_000_000
    difference = found["carbon_acct_conservation_difference_joules", "cpu"]
    assert difference == (metered - jobs - idle - system) / 1_000_000
    assert [found["carbon_acct_nodes", age] for age in ("hour", "day", "older", "never")] == [1, 1, 1, 2]
    assert ("carbon_acct_day_carbon_grams", "jobs") not in found
    assert found["carbon_acct_day_carbon_grams", "system"] == 5e-6


def test_the_thread_reads(served: Served) -> None:
    """Started, it has figures soon, and ends when it is told to."""
    figures = SiteFigures(served.site, served.poller)
    figures.start()
    deadline = time.monotonic() + 60
    while figures.figures is None and time.monotonic() < deadline:
        time.sleep(0.02)
    figures.stop()

    assert figures.figures is not None
