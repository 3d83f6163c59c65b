# SPDX-License-Identifier: MIT
"""Marks in a command's standard output: taken out where they are asked for, and everything else is passed on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_job.marks import Line
from carbon_job.output import Sieve, parse

Run = Callable[..., subprocess.CompletedProcess[str]]
MARKS = {
    b"carbon-track: epoch\n": Line("epoch", "", None),
    b"carbon-track: step 4\n": Line("step", "4.0", None),
    b"carbon-track: phase a b\n": Line("phase", "a b", None),
    b'carbontracker:{"type": "start", "span_id": "Epoch 3"}\n': Line("epoch", "", None),
    b'carbontracker:{"type": "stop", "span_id": "epoch_3"}\n': Line("end", "", None),
    b'carbontracker:{"type": "start", "span_id": "load", "parent_span_id": "process"}\n': Line("begin", "load", None),
    b'carbontracker:{"type": "stop", "span_id": "load", "external_energy_kwh": 1}\n': Line("close", "load", None),
}
OUTPUT = [
    b"",
    b"\n",
    b"loss 0.3\n",
    b"50 %\r",
    b"carbon-track is a program\n",
    b"carbon-track: dance\n",
    b"x carbon-track: epoch\n",
    b"carbontracker:{}\n",
    b"carbontracker:[[1\n",
    b"\xff\x00\n",
]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(sorted(MARKS)), st.sampled_from(OUTPUT), st.binary(max_size=20).map(lambda b: b + b"\n")
        )
    ),
    st.lists(st.integers(min_value=1, max_value=40), min_size=1),
)
def test_all_but_marks_is_passed_on(lines: list[bytes], sizes: list[int]) -> None:
    """Wherever the stream is cut, marks are found in order and the rest arrives byte for byte."""
    whole, expected, marks = b"".join(lines), b"", []
    for line in (
        whole.splitlines(keepends=True)
        if b"\r" not in whole
        else [p + b"\n" for p in whole.split(b"\n")[:-1]] + [whole.split(b"\n")[-1]]
    ):
        mark = parse(line)
        marks += [mark] if mark else []
        expected += b"" if mark else line
    sieve, out, found, at = Sieve(), b"", [], 0
    while at < len(whole):
        size = sizes[at % len(sizes)]
        text, some = sieve.take(whole[at : at + size])
        out, found, at = out + text, found + some, at + size

    assert out + sieve.rest() == expected
    assert found == marks


@pytest.mark.parametrize("line", sorted(MARKS))
def test_marks_of_both_tools(line: bytes) -> None:
    """Ours are as those of the pipe; carbontracker-tui's spans are epochs and phases by their names."""
    assert parse(line) == MARKS[line]


@pytest.mark.parametrize("line", OUTPUT)
def test_output_is_no_mark(line: bytes) -> None:
    """What only looks like a mark stays in the output."""
    assert parse(line) is None


def test_what_cannot_become_a_mark_is_passed_on_at_once() -> None:
    """A prompt or a progress bar without a line's end is not held back; the begin of a mark is."""
    assert Sieve().take(b"Continue? ")[0] == b"Continue? "
    assert Sieve().take(b" 10 %\r")[0] == b" 10 %\r"
    assert Sieve().take(b"carbon-tr")[0] == b""


@pytest.mark.slow
def test_marks_from_standard_output(carbon_track: Run, tmp_path: Path) -> None:
    """A program without the descriptor, as in a container, marks on its output; the log has spans of both tools."""
    log = tmp_path / "log.jsonl"
    script = (
        "unset CARBON_TRACK_FD CARBON_TRACK_PIPE; echo 'carbon-track: epoch'; printf 'loss '; sleep 0.6; echo 0.3;"
        """echo 'carbontracker:{"type":"start","span_id":"eval"}'; sleep 0.3;"""
        """echo 'carbontracker:{"type":"stop","span_id":"eval"}'; echo 'carbon-track: epoch'; sleep 0.4; exit 3"""
    )
    done = carbon_track("--marks-on-stdout", "--log", str(log), "--", "sh", "-c", script)
    spans = [(line["type"], line["path"]) for line in map(json.loads, log.read_text().splitlines())]

    assert (done.returncode, done.stdout) == (3, "loss 0.3\n")
    assert spans == [("phase", "epoch/eval"), ("epoch", "epoch"), ("epoch", "epoch"), ("run", "run")]


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_command(environment: dict[str, str]) -> None:
    """In `carbon-track ... | head -1` the command gets SIGPIPE, as it would without carbon-track."""
    command = [sys.executable, "-m", "carbon_job", "-q", "--marks-on-stdout", "--", "yes"]
    reader, writer = os.pipe()
    started = subprocess.Popen(command, env=environment, stdout=writer)
    os.close(writer)
    os.read(reader, 100)
    os.close(reader)

    assert started.wait(timeout=60) == -13


@pytest.mark.slow
def test_whoever_is_left_behind_may_write_until_an_end_is_wanted(environment: dict[str, str]) -> None:
    """A process that the command leaves behind holds the output open; SIGTERM ends the waiting for it."""
    command = [sys.executable, "-m", "carbon_job", "-q", "--marks-on-stdout", "--", "sh", "-c", "sleep 60 & echo $!"]
    started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    left = int(started.stdout.readline())
    time.sleep(1.5)
    waited = started.poll() is None
    started.terminate()
    code = started.wait(timeout=60)
    os.kill(left, 9)
    started.stdout.close()

    assert (waited, code) == (True, 0)
