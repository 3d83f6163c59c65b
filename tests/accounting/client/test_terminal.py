# SPDX-License-Identifier: MIT
"""What a person sees: the default table and the page of a job on terminals of several widths."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from accounting.client.jobs import GUESSED, JOB, NOW, PARTIAL, RUNNING, SIMULATED, job
from carbon_acct.client.safe_text import width

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Aggregator, Outcome

LONG = "a-name-of-24-characters-"
WIDE = [
    JOB,
    job(job_id="1234567", name=LONG, user="annabella", account="astrophysics", state="CANCELLED by 70001"),
    PARTIAL | {"name": LONG, "user": "annabella"},
    GUESSED | {"name": "漢字" * 12, "account": "astrophysics"},
    SIMULATED | {"name": LONG, "energy_uj": 300_000, "carbon_ug": 12},
    job(job_id="1234567_[3-900%20]", name=LONG, elapsed_s=9 * 86400, state="OUT_OF_MEMORY"),
]
POINTS = [
    {
        "start": NOW - 7200 + at * 900,
        "end": NOW - 7200 + (at + 1) * 900,
        "energy_uj": 900_000_000_000 * (at + 1),
        "estimated_uj": None,
    }
    | {"intensity_g_per_kwh": 300.0 + 20 * at}
    for at in range(4)
]


def _on_terminal(columns: int, *argv: str, encoding: str = "utf-8") -> list[str]:
    """The lines that carbon-acct writes on a terminal of so many columns."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "carbon_acct.cli.acct", *argv]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "TZ": "UTC"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen(command, stdout=other, stderr=subprocess.PIPE, env=environment) as process:
        os.close(other)
        written = b""
        try:
            while part := os.read(main, 65536):
                written += part
        except OSError:  # the terminal has no writer any more
            pass
        os.close(main)
        errors = process.stderr.read() if process.stderr else b""
    assert process.returncode == 0, errors
    return written.decode().splitlines()


@pytest.fixture
def _asked(aggregator: Aggregator, configure: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    configure(aggregator.url)
    monkeypatch.delenv("CARBON_ACCT_FORMAT", raising=False)


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.usefixtures("_asked")
def test_no_line_of_the_default_table_wraps(aggregator: Aggregator, columns: int) -> None:
    """With names of 24 characters, partial, estimated and simulated jobs, no line is wider than the terminal; what was
    cut says so, and energy, carbon and quality are whole.
    """
    aggregator.says(*WIDE)

    lines = _on_terminal(columns, "-a")

    assert len(lines) == 2 + len(WIDE)
    assert max(map(width, lines)) <= columns
    words = ["measured", "measured", "partial", "estimated", "sim", "measured"]
    assert [line.split()[-1] for line in lines[2:]] == words
    assert [line.split()[-3:-1] for line in lines[5:7]] == [["~4.2kWh", "~23.9kg"], ["0.0833mWh", "0.012mg"]]
    assert all(LONG in line or "+" in line for line in [lines[3], lines[4], lines[7]])
    if columns == 200:
        assert LONG in lines[3]
        assert "CANCELLED by 70001" in lines[3]


@pytest.mark.usefixtures("_asked")
def test_a_pipe_is_not_cut(aggregator: Aggregator, carbon_acct: Callable[..., Outcome]) -> None:
    """What does not go to a terminal, or has fields of the user's choice, is as wide as it needs."""
    aggregator.says(*WIDE)

    assert "CANCELLED by 70001" in carbon_acct("-a").out
    assert max(map(width, _on_terminal(80, "-a", "-o", "jobname%60,state,nodelist"))) > 80


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.usefixtures("_asked")
def test_the_page_of_a_job(aggregator: Aggregator, columns: int, encoding: str) -> None:
    """At most 24 lines that fit, with energy by component, a curve of four quarters of an hour, carbon by scope, what it
    is like, quality with reasons, and advice; ASCII where the terminal has no UTF-8.
    """
    aggregator.says(PARTIAL | {"carbon_market_ug": 1_000_000, "embodied_ug": 2_000_000})
    aggregator.others["/v1/power/series"] = {"series": [{"points": POINTS}]}

    lines = _on_terminal(columns, "show", "14", encoding=encoding)

    text = "\n".join(lines)
    assert len(lines) <= 24
    assert max(map(width, lines)) <= columns
    bars = ("#", ".") if encoding == "ascii" else ("█", "▃")
    assert all(char in text for char in bars)
    assert encoding == "utf-8" or text.isascii()
    for word in (
        "CPU",
        "GPU",
        "1000 to 4000 W",
        "300 to 360 g/kWh",
        "market-based 1g",
        "embodied (scope 3) 2g",
        "permission denied",
    ):
        assert word in text
    assert "[gpu_idle]" in text
    assert "[cpu_unused]" not in text  # less than 5 % of the energy
    assert "of what it held, idle" in text


@pytest.mark.usefixtures("_asked")
def test_a_job_by_minute(aggregator: Aggregator, carbon_acct: Callable[..., Outcome]) -> None:
    """Where a part of the job is by minute the curve is finer, keeps time where points differ in length, and says so; the
    range is that of the points, also of one that is joined with others; --json has every value.
    """
    start = 900 * 2_000_000
    lengths = [60] * 15 + [900]
    watts = [100, 100, 700, *[100] * 12, 400]
    points = [
        {
            "start": start + sum(lengths[:at]),
            "end": start + sum(lengths[: at + 1]),
            "energy_uj": watts[at] * lengths[at] * 1_000_000,
            "estimated_uj": None,
            "intensity_g_per_kwh": 300.0,
        }
        for at in range(16)
    ]
    aggregator.says(JOB)
    aggregator.others["/v1/power/series"] = {"series": [{"points": points}]}

    lines = carbon_acct("show", "12").out.splitlines()

    at = next(i for i, line in enumerate(lines) if line.startswith("Watts"))
    assert lines[at].split(None, 1)[1] == "100 to 700 W, by minute"
    drawn = lines[at + 1].strip()
    assert len(set(drawn[: len(drawn) // 2])) > 1
    assert len(set(drawn[len(drawn) // 2 :])) == 1
    assert json.loads(carbon_acct("show", "12", "--json").out)["power"] == points
    assert aggregator.queries[-1] == {"jobs": "12", "minutes": "1"}


@pytest.mark.usefixtures("_asked")
def test_a_running_job_is_projected(aggregator: Aggregator, carbon_acct: Callable[..., Outcome]) -> None:
    """Of a running job there is what it consumed until now, and at its time limit a projection that says that it is one."""
    far = 10**9
    aggregator.says(RUNNING | {"timelimit_s": far})
    aggregator.others["/v1/power/series"] = {"series": [{"points": POINTS}]}

    shown = json.loads(carbon_acct("show", "18", "--json").out)

    mean_w = 900_000_000_000 * 10 / 3600 / 1_000_000
    left = NOW - 7200 + far - POINTS[-1]["end"]
    assert shown["projection"]["energy_uj"] == RUNNING["energy_uj"] + round(mean_w * left * 1_000_000)
    assert shown["projection"]["until"] == NOW - 7200 + far
    assert shown["power"] == POINTS
    text = carbon_acct("show", "18").out
    assert "Projected  ~" in text
    assert "1.25kWh" in text


def test_show_asks_for_one_job(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """No job, several jobs, or a word that is none is one line; an aggregator without power over time is no error."""
    aggregator.says()
    assert carbon_acct("show", "12") == carbon_acct("show", "12").__class__(
        1, "", "carbon-acct: no job 12 that you may see\n"
    )
    aggregator.says(JOB, job(job_id="12_1"))
    assert carbon_acct("show", "12").err == "carbon-acct: 12 is 2 jobs; ask for one: 12, 12_1\n"
    assert carbon_acct("show", "x").status == 2
    assert carbon_acct("show", "12", "--watch", "1").status == 2
    aggregator.says(JOB)
    assert "Watts" not in carbon_acct("show", "12").out


@pytest.mark.usefixtures("_asked")
def test_sums_fit_the_terminal(aggregator: Aggregator) -> None:
    """On 80 columns no line of sums wraps: long names are shortened with a mark, sentences are broken at blanks, and every
    figure is whole.
    """
    figures = {"jobs": 12345, "energy_uj": "123450000000000", "estimated_uj": "5000000", "carbon_ug": "98760000000"}
    both = {"figures": figures | {"simulated": False}, "previous": figures, "waste": None}
    window = {"month": "2026-10", "first_day": "2026-10-01", "last_day": "2026-10-31", "timezone": "Europe/Berlin"}
    text = "34.3 kWh: GPUs were held at idle power, most by job 1; ask for fewer GPUs, or leave them when they are done"
    key = {"account": LONG, "partition": LONG, "state": "OUT_OF_MEMORY"}
    aggregator.others["/v1/usage"] = {
        "window": window | {"over": True},
        "previous_window": window | {"over": True},
        "by": list(key),
        "rows": [{"key": key, **both}],
        "others": None,
        "total": both,
        "advice": [{"rule": "gpu_idle", "text": text}],
        "notes": [],
    }

    lines = _on_terminal(80, "--by", "account,partition,state", "--advice", "--compare")

    assert max(map(width, lines)) <= 80
    assert any("a-name-+" in line and "~34.3kWh" in line for line in lines)
    assert " ".join(line.strip() for line in lines[-2:]) == f"{text} [gpu_idle]"
