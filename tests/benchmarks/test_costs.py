# SPDX-License-Identifier: MIT
"""The benchmarks of overhead and latency: they run and are whole. Their times are nobody's property to assert."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

needs_zipapp = pytest.mark.skipif(not (CHECKOUT / "dist/carbon-collector").exists(), reason="make zipapp was not run")
needs_munged = pytest.mark.skipif(
    shutil.which("munged", path=f"{os.environ['PATH']}:/usr/sbin") is None,
    reason="munged is not installed (Debian: apt-get install munge)",
)


def run(program: str, *args: str) -> list[list[str]]:
    """The words of the table's rows."""
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "benchmarks" / program), *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "not content" not in done.stdout
    _, _, rows = done.stdout.partition("\n---")
    return [line.split() for line in rows.splitlines()[1:] if line]


@needs_zipapp
@needs_munged
@pytest.mark.slow
def test_overhead_has_a_row_for_each_cell() -> None:
    """Memory and CPU time of the real zipapp, with and without jobs; neither can be nothing."""
    rows = run("overhead.py", "--alone", "--seconds", "1", "--settle", "0", "--jobs", "0", "3", "--gpus", "0")

    reads = {"0": "30", "3": "10"}  # seconds between two readings
    assert [row[:5] for row in rows] == [["carbon-collector", s, "s", n, "0"] for n, s in reads.items()]
    assert all(float(row[5]) > 1 for row in rows)


@needs_zipapp
@needs_munged
@pytest.mark.slow
def test_memory_of_a_node_with_64_jobs_is_within_its_budget() -> None:
    """At most 12 MiB resident, 16 with 8 GPUs, right after 64 prologs; a loaded machine changes the figure little."""
    said = run("overhead.py", "--alone", "--seconds", "1", "--settle", "0", "--jobs", "64")
    rows = [row for row in said if row[0] == "carbon-collector"]

    budget_mib = {"0": 12.0, "8": 16.0}  # by number of GPUs
    assert {row[4]: float(row[5]) <= budget_mib[row[4]] for row in rows} == {"0": True, "8": True}, rows


@needs_zipapp
@needs_munged
def test_latency_has_a_row_for_each_script_and_state() -> None:
    """Empty script, prolog and epilog; every run of them ended well, or the program had said so."""
    rows = run("latency.py", "--runs", "2")

    assert [row[0] for row in rows].count("prolog") == [row[0] for row in rows].count("epilog") >= 2
    assert rows[0][:2] == ["empty", "script"]


def test_cpu_time_of_a_window_is_that_of_the_process_and_its_children() -> None:
    """What a child burned counts, what was burned before the window does not."""
    from node.cost import Window

    burn = "import os,time,sys\nwhile time.process_time() < 0.2: pass\nprint('on', flush=True); sys.stdin.readline()\n"
    child = "if not os.fork():\n  while time.process_time() < 0.2: pass\n  os._exit(0)\nos.wait()\nprint('done', flush=True); time.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", burn + child], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        time.sleep(0.05)
        window = Window(process)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n"

        cpu_s, memory = window.close()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()

    assert 0.19 < cpu_s < 0.26
    assert memory.rss >= memory.pss > 1


def test_percentiles_are_values_that_were_seen() -> None:
    """Nearest rank: the maximum is the 100th, and one value is every percentile of itself."""
    from table import percentile

    assert [percentile([3.0, 1.0, 2.0, 4.0], p) for p in (25, 50, 75, 100)] == [1.0, 2.0, 3.0, 4.0]
    assert [percentile([7.0], p) for p in (1, 50, 99, 100)] == [7.0] * 4
