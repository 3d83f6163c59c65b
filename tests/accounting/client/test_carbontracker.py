# SPDX-License-Identifier: MIT
"""Carbontracker's logs: what they say, what that has to be taken for, and that nothing of a torn file is a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.cli import mgr
from carbon_acct.client.carbontracker import of_events, of_logs, runs

STAMP = "2026-11-29 17:04:03 - "
# As release 2.4.7 wrote it with a simulated GPU of 400 W and CPU of 50 W, for two epochs of 1.5 s.
STANDARD = f"""\
{STAMP}carbontracker version 2.4.7
{STAMP}Only predicted and actual consumptions are multiplied by a PUE coefficient of 1.58 (Daniel Bizo, 2023, Uptime Institute Global Data Center Survey).
{STAMP}The following components were found: GPU with device(s) NVIDIA A100. CPU with device(s) X.
{STAMP}Monitoring thread started.
{STAMP}Epoch 1:
{STAMP}Duration: 0:00:01.50
{STAMP}Average power usage (W) for gpu: 400.0
{STAMP}Average power usage (W) for cpu: 50.0
{STAMP}Epoch 2:
{STAMP}Duration: 0:00:01.50
{STAMP}Average power usage (W) for gpu: 400.0
{STAMP}Average power usage (W) for cpu: 50.0
{STAMP}Average carbon intensity during training was 445.00 gCO2eq/kWh.
{STAMP}Monitoring thread ended.
"""
OUTPUT = f"""\
{STAMP}CarbonTracker: The following components were found: GPU with device(s) NVIDIA A100. CPU with device(s) X.
{STAMP}CarbonTracker:
Predicted consumption for 2 epoch(s):
\tTime:\t0:00:03
\tEnergy:\t0.000593104041 kWh
\tCO2eq:\t0.263931298077 g
\tThis is equivalent to:
\t0.002471266836 km travelled by car
{STAMP}CarbonTracker:
Actual consumption for 2 epoch(s):
\tTime:\t0:00:03
\tEnergy:\t0.000592935938 kWh
\tCO2eq:\t0.263856492251 g
{STAMP}CarbonTracker: Finished monitoring.
"""
PREDICTED = OUTPUT.partition("Actual")[0]


def test_a_run_of_2_4_7() -> None:
    """The total has its PUE inside; the epochs add up to the same without it."""
    found = of_logs("run", STANDARD, OUTPUT)

    assert (found.version, found.pue, found.epochs, found.intensity_g_per_kwh) == ("2.4.7", 1.58, 2, 445)
    assert (found.said_kwh, found.said_g, found.predicted_kwh) == (0.000592935938, 0.263856492251, 0.000593104041)
    assert found.measured_kwh == pytest.approx(450 * 3 / 3.6e6)
    assert found.said_kwh == pytest.approx(found.measured_kwh * 1.58, rel=0.01)
    assert found.flags == ["a PUE of 1.58 is in its totals"]


def test_averaged_devices_are_added_up() -> None:
    """Four devices of 400 W are 1.6 kWh an hour, where 2.0 to 2.4.7 says 0.4 and 1.x lists each."""
    four = "GPU with device(s) A100, A100, A100, A100. CPU with device(s) X."
    hour = STANDARD.replace("GPU with device(s) NVIDIA A100. CPU with device(s) X.", four).replace(
        "0:00:01.50", "0:30:00.00"
    )
    averaged = of_logs("run", hour.replace("cpu: 50.0", "cpu: 0.0"), "")
    listed = of_logs(
        "run",
        hour.replace("2.4.7", "1.2.5")
        .replace("gpu: 400.0", "gpu: [400. 400. 400. 400.]")
        .replace("cpu: 50.0", "cpu: [0.]"),
        "",
    )

    assert averaged.measured_kwh == listed.measured_kwh == pytest.approx(1.6)
    assert "averaged and not added up (4 gpu devices): its figures are too low" in averaged.flags
    assert not any("averaged" in flag for flag in listed.flags)


def test_a_prediction_is_no_measurement() -> None:
    """A run that was killed after its first epoch has what that epoch measured, and no more."""
    first = STANDARD.partition(f"{STAMP}Epoch 2:")[0]
    found = of_logs("run", first, PREDICTED)

    assert (found.said_kwh, found.predicted_kwh) == (None, 0.000593104041)
    assert found.measured_kwh == pytest.approx(450 * 1.5 / 3.6e6)
    assert "only a prediction: no measurement of the whole run" in found.flags


def test_unreadable_meters_are_flagged() -> None:
    """0 kWh is what it says where it could read nothing."""
    dark = STANDARD.replace("400.0", "0.0").replace("cpu: 50.0", "cpu: None")

    assert "0 kWh: its meters could not be read" in of_logs("run", dark, "").flags
    assert of_logs("run", "", "").flags == ["nothing was measured"]


EVENTS = [
    {"__type__": "StartedSession", "timestamp": "2026-01-01T12:00:00", "run_name": "a", "config_summary": {"pue": 1.1}},
    {"__type__": "SpanProfileEvent", "span_id": "e", "parent_span_id": "p", "stats": {"power_usage_kwh": 0.2}},
    {
        "__type__": "SpanProfileEvent",
        "span_id": "p",
        "parent_span_id": None,
        "stats": {"power_usage_kwh": 0.5, "power_usage_pr_device": {"cpu:0": 1.0}},
    },
    {
        "__type__": "FinishedSession",
        "stats": {
            "total_emissions_g": 50.0,
            "total_power_usage_kwh": 0.5,
            "duration_s": 60.0,
            "completed_spans_count": 2,
        },
    },
]


def test_events_of_the_tui() -> None:
    """The session's total; of one that did not finish its outermost spans; a torn line is counted."""
    lines = [json.dumps(event) for event in EVENTS]
    whole, killed = of_events("a", lines), of_events("a", [*lines[:3], '{"__type__": "Fin'])

    assert (whole.measured_kwh, whole.said_g, whole.pue, whole.epochs, whole.flags) == (0.5, 50, 1.1, 2, [])
    assert killed.measured_kwh == 0.5
    assert killed.flags == ["the session did not finish: what its outermost spans say", "1 torn lines were left out"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every run of a folder once, its two logs together; text, CSV and JSON; nothing there is an error."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "1_carbontracker.log").write_text(STANDARD)
    (tmp_path / "1_carbontracker_output.log").write_text(OUTPUT)
    (tmp_path / "2_carbontracker_output.log").write_text(PREDICTED)
    (tmp_path / "sub" / "run-a_events.jsonl").write_text("\n".join(map(json.dumps, EVENTS)))

    assert len(runs(tmp_path)) == 3
    assert mgr.main(["import-carbontracker", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "flag       a PUE of 1.58 is in its totals" in out
    assert "3 runs, 0.500375 kWh measured; nothing is booked to jobs" in out
    assert mgr.main(["import-carbontracker", str(tmp_path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert mgr.main(["import-carbontracker", str(tmp_path), "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert mgr.main(["import-carbontracker", str(tmp_path / "nowhere")]) == 2


@given(st.text(), st.text())
def test_whatever_stands_in_a_log(standard: str, output: str) -> None:
    """Nothing of it is a traceback."""
    of_logs("x", STANDARD[:200] + standard, output + OUTPUT[100:])
    of_events("x", standard.splitlines())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
)


@given(st.sampled_from(["SpanProfileEvent", "FinishedSession", "x"]), JSON, JSON)
def test_whatever_stands_in_an_event(kind: str, stats: object, summary: object) -> None:
    """An event of another shape is a torn line."""
    of_events("x", [json.dumps({"__type__": kind, "stats": stats, "config_summary": summary}), json.dumps(stats)])
