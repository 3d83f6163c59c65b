# SPDX-License-Identifier: MIT
"""carbon-track watch shows the runs in logs, from any host that sees them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_job import watch

NOW = 1_800_000_000.0
Run = Callable[..., subprocess.CompletedProcess[str]]


def epoch(number: int, begin_s: float, **more: Any) -> dict[str, Any]:
    """A line of an epoch of a minute and a kilojoule."""
    said = {"energy_j": 7.2e6, "lower_j": 3.6e6, "upper_j": 1.08e7, "seconds_left": 7200.0}
    return {
        "version": 1,
        "job_id": "77",
        "restarts": 0,
        "step": "",
        "run": "bert",
        "type": "epoch",
        "number": number,
        "begin_s": begin_s,
        "seconds": 60.0,
        "energy_j": 1000.0,
        "carbon_g": 0.5,
        "complete": True,
        "prediction": said,
        **more,
    }


def cells(*lines: dict[str, Any], now_s: float = NOW) -> list[dict[str, str]]:
    """The rows of the runs in lines."""
    return [dict(zip(watch.HEAD, watch.row(seen, now_s), strict=True)) for seen in watch.runs(lines)]


def test_a_run_that_goes_on() -> None:
    """Its epochs are added up; what is left is the prediction's, less the time since; the interval stands beside it."""
    (row,) = cells(epoch(1, NOW - 180), epoch(2, NOW - 120))

    assert row == {
        "JOB": "77",
        "RUN": "bert",
        "STATE": "running",
        "EPOCH": "2",
        "ENERGY": "2000 J",
        "CARBON": "1.00 g",
        "TIME": "2 min 00 s",
        "LEFT": "1 h 59 min",
        "IN ALL": "2.00 kWh (1.00 kWh to 3.00 kWh)",
    }


def test_states() -> None:
    """A run has ended, was cut off, is silent (three of its epochs, an hour at least) or goes on."""
    first = epoch(1, NOW - 60)
    whole = {**first, "type": "run", "seconds": 61.0, "energy_j": 1200.0}

    assert [row["STATE"] for row in cells(first, whole)] == ["ended"]
    assert [row["STATE"] for row in cells(first, {**whole, "complete": False})] == ["cut off"]
    assert [row["STATE"] for row in cells(first, now_s=NOW + 3500)] == ["running"]
    assert [row["STATE"] for row in cells(first, now_s=NOW + 3700)] == ["silent"]
    assert [row["STATE"] for row in cells({**first, "seconds": 7200.0}, now_s=NOW + 20_000)] == ["running"]
    assert [row["LEFT"] for row in cells(first, whole)] == ["-"]


def test_jobs_that_ran_again_and_runs_in_one_step() -> None:
    """Each restart, each step and each run after another in one step is a row of its own."""
    first, whole = epoch(1, NOW - 60), {**epoch(1, NOW - 60), "type": "run"}
    again = {**first, "restarts": 1}

    assert [row["STATE"] for row in cells(first, whole, first, again)] == ["ended", "running", "running"]


def test_unknown_is_not_zero() -> None:
    """An epoch whose energy is not known leaves the sum unknown."""
    (row,) = cells(epoch(1, NOW - 120), epoch(2, NOW - 60, energy_j=None, carbon_g=None, prediction=None))

    assert (row["ENERGY"], row["CARBON"]) == ("-", "-")


def test_figures_so_far_count_if_they_are_the_newest() -> None:
    """A command that marks nothing shows what it came to within the last minute."""
    so_far = {**epoch(1, NOW - 600), "type": "so far", "seconds": 600.0, "energy_j": 3.6e6}

    assert [row["ENERGY"] for row in cells(so_far)] == ["1.00 kWh"]
    assert [row["EPOCH"] for row in cells(so_far)] == ["0"]
    assert [row["TIME"] for row in cells(so_far, epoch(1, NOW))] == ["1 min 00 s"]


@given(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.floats() | st.text(),
        lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=9), one, max_size=3),
    ),
)
def test_whatever_stands_in_a_log(torn: bytes, value: object) -> None:
    """A torn or foreign line costs itself alone."""
    path = Path(os.environ.get("TMPDIR", "/tmp"), f"carbon-watch-{os.getpid()}.jsonl")
    whole = json.dumps(epoch(1, NOW - 60)).encode()
    try:
        path.write_bytes(b"\n".join([whole, torn.replace(b"\n", b" "), json.dumps(value).encode(), whole]))
        found = watch.runs(watch.read(str(path)))
    finally:
        path.unlink(missing_ok=True)

    assert [len(seen.epochs) for seen in found] == [2]


def test_the_command(tmp_path: Path, environment: dict[str, str]) -> None:
    """A folder's logs are one table; a log that is not there is named; control characters do not reach the terminal."""
    (tmp_path / "a.jsonl").write_text(json.dumps({**epoch(1, time.time() - 60), "run": "be\x1b[31mrt"}) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({**epoch(1, 1.0), "type": "run"}) + "\n")
    command = [sys.executable, "-m", "carbon_job", "watch"]
    done = subprocess.run([*command, str(tmp_path)], env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in lines] == ["JOB", "77", "77"]
    assert "\x1b" not in done.stdout
    for words, code, says in (
        (["nowhere.jsonl"], 1, "carbon-track watch: nowhere.jsonl: No such file or directory\n"),
        ([], 2, "usage: carbon-track watch"),
        (["--foo", "x"], 2, "usage: carbon-track watch"),
    ):
        done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, says in done.stderr) == (code, True)


@pytest.mark.slow
def test_a_terminal_follows_until_all_runs_are_over(tmp_path: Path, environment: dict[str, str]) -> None:
    """On a terminal the table is drawn anew where it stands, no line wider than the screen, until the run's last line."""
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps(epoch(1, time.time() - 60)) + "\n")
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    command = [sys.executable, "-m", "carbon_job", "watch", str(log)]
    started = subprocess.Popen(command, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = os.read(main, 65536)
    with log.open("a") as file:
        file.write(json.dumps({**epoch(1, time.time() - 60), "type": "run"}) + "\n")
    try:
        while piece := os.read(main, 65536):
            seen += piece
    except OSError:  # the terminal's other end is closed
        pass
    os.close(main)
    text = seen.decode()

    assert started.wait(timeout=60) == 0
    assert text.index("running") < text.index("\x1b[2A\x1b[J") < text.index("ended")
    assert max(len(line) for line in text.replace("\x1b[2A\x1b[J", "").split("\r\n")) < 60
