# SPDX-License-Identifier: MIT
"""What an estimate rests on, from a real aggregator: own jobs, the partition, the hardware; and the best begin."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from accounting.estimate.conftest import Run
from accounting.samples import job, job_slot, ledger, segment, share
from accounting.served import Served
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.grid import forecast, intensity
from carbon_acct.grid.provider import Period
from carbon_acct.sync.jobs import record_jobs

J, US = 1_000_000, 1_000_000
SCRIPT = "#!/bin/sh\n#SBATCH -J bert -p gpu -G a100:4 -c 8 -t 1-0\n./train\n"


class Past:
    """Jobs that ran, and what a test asks about the next one."""

    def __init__(self, served: Served, run: Run, folder: Path) -> None:
        self.site, self.run, self.number = served.site, run, 100
        self.script = folder / "bert.sh"
        self.script.write_text(SCRIPT)
        self.now = int(time.time())

    def ran(
        self, gpu_w: float, elapsed_s: int, name: str = "bert", state: str = "COMPLETED", **changes: object
    ) -> None:
        """A job of 4 GPUs of so many watts each, and 8 CPUs of 5 W, that ended an hour ago or so."""
        self.number += 1
        slot = (self.now - 7200) // 900 * 900
        start, end = slot, slot + elapsed_s
        gpus = int(changes.pop("gpus", 4))  # type: ignore[call-overload]
        tres = f"cpu=8,gres/gpu:a100={gpus},gres/gpu={gpus}"
        known = job(
            job_id_raw=self.number, job_id=str(self.number), name=name, partition="gpu", state=state, submit=start,
            eligible=start, start=start, end=end, elapsed_s=elapsed_s, ncpus=8, alloc_tres=tres, **changes,  # type: ignore[arg-type]
        )  # fmt: skip
        times = {"job_id": self.number, "opened": start}
        parts = {
            "cpu": share(40 * elapsed_s * J, metered_us=elapsed_s * US),
            "gpu": share(round(gpus * gpu_w * elapsed_s * J), metered_us=elapsed_s * US),
        }
        held = [f"GPU-{n}" for n in range(gpus)]
        rows = [
            ledger(closed=end, gpus=held, cpus=8, **times),
            job_slot(parts, slot=slot, alloc_us=elapsed_s * US, **times),
        ]
        with self.site.database.write() as session:
            record_jobs(session, [known], self.site.terms)
            body = segment(rows, sequence=self.number)
            assert not store_segment(session, parse_segment(body, self.now), self.site.terms, self.now).refused

    def expects(self, value: Callable[[int], float]) -> None:
        """The forecast of each of the next 48 hours, by the hour from now."""
        hour = self.now // 3600 * 3600
        periods = [Period(hour + 3600 * h, hour + 3600 * (h + 1), f"{value(h):g}", True) for h in range(49)]
        with self.site.database.write() as session:
            source = intensity.source_of(session, "DE", *self.site.terms.sources["DE"][0])
            forecast.replace(session, source, periods, self.now)


@pytest.fixture
def past(served: Served, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Past:
    """An aggregator on loopback that carbon-estimate is told of by variables."""
    from dataclasses import replace

    from carbon_acct.factors.slot_factor import Source

    object.__setattr__(
        served.site, "terms", replace(served.site.terms, sources={"DE": (Source("uk", "Wind", "lifecycle"),)})
    )
    monkeypatch.setenv("CARBON_ACCT_AGGREGATORS", served.url)
    monkeypatch.setenv("CARBON_ACCT_MUNGE_SOCKET", served.munge_socket)
    monkeypatch.setenv("CARBON_ACCT_ZONE", "DE")
    return Past(served, run, tmp_path)


@pytest.mark.each_kind
def test_own_jobs_of_that_name(past: Past) -> None:
    """Median watts and time of the jobs that completed; failed ones are named apart; the limit is only the most."""
    for watts, seconds in ((200, 600), (210, 660), (190, 540), (400, 720), (205, 630)):
        past.ran(watts, seconds)
    past.ran(100, 300, state="FAILED")
    past.ran(350, 300, name="gpt")
    past.ran(350, 300, gpus=2)
    figures = past.run("--json", str(past.script)).figures
    out = past.run(str(past.script)).out.splitlines()

    watts = 4 * 205 + 8 * 5
    assert figures["basis"] == "history"
    assert figures["watts"] == pytest.approx(watts)
    assert figures["energy_kwh"] == pytest.approx(watts * 630 / 3.6e6)
    assert figures["energy_kwh_at_most"] == pytest.approx(watts * 24 / 1000)
    assert figures["energy_kwh_range"] == pytest.approx([watts * 564 / 3.6e6, watts * 696 / 3.6e6])
    assert figures["pue"] == 1.3
    assert figures["carbon_g"] == pytest.approx(figures["facility_kwh"] * 344.14)
    assert out[0].startswith("Basis     5 of your jobs named bert in gpu (860 W, 10 min)")
    assert out[0].endswith("10 to 90 %    at most (24 h)")
    assert out[1].startswith("Energy    0.15 kWh    facility 0.20 kWh ")
    assert "1 more failed or ran out of time" in "\n".join(out)


def test_the_partition_where_there_are_no_own_jobs(past: Past) -> None:
    """Nothing is known of how long it takes: up to the limit, or for the hours that are given."""
    past.ran(200, 600, name="other")
    figures = past.run("--json", str(past.script)).figures
    hours = past.run("--json", "--hours", "10", str(past.script)).figures

    assert (figures["basis"], figures["energy_kwh"]) == ("partition", None)
    assert figures["energy_kwh_at_most"] == pytest.approx((4 * 200 + 8 * 5) * 24 / 1000)
    assert hours["energy_kwh"] == pytest.approx((4 * 200 + 8 * 5) * 10 / 1000)
    assert "power of " in past.run(str(past.script)).out


def test_the_hardware_where_nothing_was_measured(past: Past) -> None:
    """An upper bound up to the time limit; a basis that was asked for and is not there is an error."""
    out = past.run(str(past.script)).out

    assert "4 x 400 W (A100 data sheet) x 24 h" in out
    assert "hardware at full use up to the time limit: an upper bound" in out
    done = past.run("--basis", "history", str(past.script))
    assert (done.status, "no measured job that completed is like it" in done.err) == (1, True)


def test_without_an_aggregator_it_says_so(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate by hardware stands, with a note."""
    monkeypatch.setenv("CARBON_ACCT_AGGREGATORS", "http://127.0.0.1:9")
    done = past.run(str(past.script))

    assert done.status == 0
    assert "Note      your earlier jobs are not known: " in done.out


def test_the_best_begin_within_the_forecast(past: Past) -> None:
    """Cleaner hours give a begin, what it emits, and the line for sbatch with the options of this command line."""
    for _ in range(3):
        past.ran(200, 900)
    past.expects(lambda hour: 100 if hour == 5 else 300)
    out = past.run("--within", "24h", "-c", "8", str(past.script), "--lr", "3").out
    line = next(line for line in out.splitlines() if line.startswith("Cleaner"))
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(past.now // 3600 * 3600 + 5 * 3600))

    assert line.startswith("Cleaner   27.3 g      begun ")
    assert line.endswith(f"67 % less:  sbatch --begin={at} --cpus-per-task=8 {past.script} --lr 3")
    assert "begun now, at the forecast of DE" in out
    begin = past.run("--within", "24h", "--json", "-c", "8", str(past.script), "--lr", "3").figures["begin"]
    assert begin["command"] == line.partition("less:  ")[2]
    assert begin["time"] == past.now // 3600 * 3600 + 5 * 3600
    assert (begin["carbon_g_now"], begin["g_per_kwh"]) == (pytest.approx(3 * begin["carbon_g"]), 100)
    assert "no begin within 2 h is cleaner than now" in past.run("--within", "2h", str(past.script)).out


def test_no_forecast_no_advice(past: Past) -> None:
    """Neither without a forecast, nor for a run that goes on beyond its end."""
    past.ran(200, 900)
    assert "no advice: there is no forecast" in past.run("--within=24h", str(past.script)).out
    assert set(past.run("--within=24h", "--json", str(past.script)).figures["begin"].values()) == {None}
    past.expects(lambda hour: 100 + hour)
    out = past.run("--within=24h", "--hours", "60", str(past.script)).out
    assert "no advice: the forecast ends before a run of 60 h does" in out
    assert past.run("--within=soon", str(past.script)).status == 2


@pytest.mark.each_kind
def test_jobs_that_ran(past: Past) -> None:
    """What was measured, as it was accounted, and the same elsewhere."""
    past.ran(200, 900)
    figures = past.run("--json", "-j", "101").figures
    there = past.run("--json", "-j", "101", "--zone", "FR", "--pue", "1").figures
    out = past.run("-j", "101", "--compare").out

    kwh = 840 * 900 / 3.6e6
    assert (figures["basis"], figures["energy_kwh"]) == ("jobs", pytest.approx(kwh))
    assert figures["carbon_g"] == pytest.approx(kwh * 1.3 * 344.14, rel=1e-6)
    assert there["carbon_g"] == pytest.approx(kwh * 44.18)
    assert "Job       101 bert: COMPLETED, 15 min, measured" in out
    assert "Dirtiest" in out
    assert past.run("-j", "999").status == 1


def live_file(folder: Path, job_id: int, energy_uj: int, held_s: int) -> None:
    """A live file of version 2, as the collector writes it, whose DRAM is not known."""
    (folder / "live").mkdir(exist_ok=True)
    parts = {
        "cpu": {"energy_uj": energy_uj, "metered_us": held_s * US, "method": "counter"},
        "dram": {"missing": "no counter"},
    }
    facts = {"version": 2, "time_us": 1, "held_us": held_s * US, "begin_us": 1, "components": parts, "simulated": True}
    (folder / "live" / f"{job_id}.json").write_text(json.dumps(facts))


def test_a_running_job_is_read_on_its_node(past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the live file has beyond the aggregator's knowledge counts; of a job on two nodes it is not the whole, and
    one that has ended is as it was accounted. Without an aggregator the file serves alone.
    """
    monkeypatch.setenv("CARBON_ACCT_RUN_DIR", str(tmp_path))
    past.ran(200, 900, state="RUNNING")
    past.ran(200, 900, state="RUNNING", nnodes=2)
    past.ran(200, 900)
    accounted = past.run("--json", "-j", "101").figures
    for number in (101, 102, 103):
        live_file(tmp_path, number, 2 * 840 * 900 * J, 1800)
    now = past.run("--json", "-j", "101").figures

    assert now["energy_kwh"] == pytest.approx(2 * accounted["energy_kwh"])
    assert now["carbon_g"] == pytest.approx(2 * accounted["carbon_g"])
    assert "measured, up to now on this node" in past.run("-j", "101").out
    for number in (102, 103):
        assert past.run("--json", "-j", str(number)).figures["energy_kwh"] == pytest.approx(accounted["energy_kwh"])
    live_file(tmp_path, 101, J, 1)
    assert past.run("--json", "-j", "101").figures["energy_kwh"] == pytest.approx(accounted["energy_kwh"])
    live_file(tmp_path, 999, 3600 * J, 60)
    assert past.run("--json", "-j", "999").figures["energy_kwh"] == pytest.approx(0.001)
    monkeypatch.setenv("CARBON_ACCT_AGGREGATORS", "http://127.0.0.1:9")
    assert past.run("--json", "-j", "999").figures["energy_kwh"] == pytest.approx(0.001)
    assert past.run("-j", "998").status == 1


def test_the_statement_for_a_paper(past: Past) -> None:
    """LaTeX with both papers, Markdown, the field of a model card, JSON: all with the same measured figures."""
    for _ in range(2):
        past.ran(200, 900)
    kwh = 2 * 840 * 900 / 3.6e6
    facts = json.loads(past.run("--paper", "-j", "101,102", "--format", "json", "--offset", "5").out)
    latex = past.run("--paper", "-j", "101,102").out
    markdown = past.run("--paper", "-j", "101,102", "--format", "markdown", "--offset", "5").out
    card = past.run("--paper", "-j", "101,102", "--format", "huggingface", "--training-type", "fine-tuning").out

    assert facts["energy_measured_kwh"] == pytest.approx(kwh)
    assert facts["carbon_g"] == pytest.approx(kwh * 1.3 * 344.14, rel=1e-6)
    assert facts["not_in_the_total"]["offset_kg"] == 5
    assert {"lacoste2019quantifying", "anthony2020carbontracker"} <= set(
        latex.replace("{", " ").replace("}", " ").replace(",", " ").split()
    )
    assert r"They consumed 0.420 kWh, measured by the nodes' own counters." in latex
    assert r"188 g CO\textsubscript{2}e (location-based)" in latex
    assert "5.00 kg CO2e were offset; the emissions above are before that." in markdown
    assert card.startswith("co2_eq_emissions:\n  emissions: 187.9  # grams\n")
    assert '  training_type: "fine-tuning"\n  geographical_location: "DE"\n  hardware_used: "4 x a100"' in card
    assert past.run("--paper").status == 2


def test_a_paper_of_an_account_and_a_time(past: Past) -> None:
    """-A, -S and -E choose the jobs: their sum is that of naming them, and what lies outside is not in it."""
    past.ran(200, 900, account="physics")
    past.ran(300, 900, account="optics")
    day = 86400

    def kwh(*words: str) -> float:
        return float(json.loads(past.run("--paper", "--format", "json", *words).out)["energy_measured_kwh"])

    span = ("-S", f"uts{past.now - day}", "-E", f"uts{past.now + day}")
    assert kwh("-A", "optics", *span) == pytest.approx(kwh("-j", "102"))
    assert kwh("-A", "physics,optics", *span) == pytest.approx(kwh("-j", "101,102"))
    assert kwh(*span) == pytest.approx(1240 * 900 / 3.6e6 + 840 * 900 / 3.6e6)
    assert past.run("--paper", "-A", "chemistry", *span).status == 1
    assert (
        past.run("--paper", "-A", "optics", "-S", f"uts{past.now + day}", "-E", f"uts{past.now + 2 * day}").status == 1
    )
    assert past.run("--paper", "-A", "optics", "-S", "someday").status == 2


def test_hints_have_a_figure_and_a_command(past: Past) -> None:
    """Energy of failed jobs and of GPUs that did nothing, with the command that shows them."""
    past.ran(200, 900)
    past.ran(300, 900, state="FAILED")
    past.ran(30, 900, name="notebook")
    out = past.run("--hints").out

    assert "1 of your 3 jobs failed or ran out of time: 0.31 kWh" in out
    assert "1 jobs held GPUs that did next to nothing: 1 GPU hours, 0.03 kWh." in out
    assert "    carbon-acct -j 103 -o JobID,JobName,AllocTRES,Elapsed,GPUEnergyRaw" in out
