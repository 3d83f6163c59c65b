# SPDX-License-Identifier: MIT
"""carbon-acct under every Python that a login node may have: the whole command, and the lines of `carbon-mgr status`."""

from __future__ import annotations

import csv
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from accounting.client.jobs import JOB, PARTIAL, SIMULATED
from interpreters import interpreter
from slurm.layout import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Aggregator

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
FOLDERS = [str(CHECKOUT / name) for name in ("accounting", "collector")]
BALANCE = {"metered_uj": "10", "jobs_uj": "6", "idle_uj": "3", "system_uj": "1", "difference_uj": "0"}
STATUS: dict[str, Any] = {
    "version": "0",
    "database": "sqlite:///x",
    "zone": "DE",
    "jobs": 1,
    "nodes": 1,
    "segments": 1,
    "unmatched": 0,
    "last_slot": 900,
    "silent": {"never": 1, "never_nodes": ["n9"], "day": 0, "day_nodes": []},
    "dropped": {"nodes": 1, "records": 2, "energy_uj": "3"},
    "slurm": {"cluster": "demo", "source": "sacct", "polled_at": 1, "error": "", "sees_all": True, "behind_s": 0},
    "grid": [{"zone": "DE", "provider": "x", "text": "X", "fetched_at": None, "error": ""}],
    "simulated": False,
    "conservation": {"cpu": BALANCE},
}


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in a Python of this version, with the checkout's packages and none that is installed beside it."""
    path = interpreter(request.param)

    def run(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
        whole = f"import sys; sys.path[:0] = {FOLDERS}; sys.dont_write_bytecode = True; {code}"
        return subprocess.run([path, "-S", "-c", whole, *argv], capture_output=True, text=True, check=False)

    return run


def test_the_table_csv_and_json(
    python: Callable[..., subprocess.CompletedProcess[str]],
    aggregator: Aggregator,
    configure: Callable[..., Path],
    carbon_acct: Callable[..., Any],
) -> None:
    """Each way to show jobs prints what the Python of the tests prints, and nothing on standard error."""
    aggregator.says(JOB, SIMULATED, PARTIAL)
    configure(aggregator.url)
    for argv in ((), ("-p", "-o", "ALL"), ("--csv",), ("-S", "2026-07-14", "-E", "2026-07-15", "--json")):
        done = python("from carbon_acct import start; sys.exit(start.acct())", *argv)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == carbon_acct(*argv).out
    assert [row["JobID"] for row in csv.DictReader(carbon_acct("--csv").out.splitlines())] == ["12", "13", "14"]


def test_the_lines_of_status(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The state of the accounting is made into lines by modules of the client, under each of its Pythons."""
    code = (
        "import json; from carbon_acct.client import status; print('\\n'.join(status.lines(json.loads(sys.argv[1]))))"
    )
    done = python(code, json.dumps(STATUS))
    assert (done.returncode, done.stderr) == (0, "")
    kwh = ["0.00000000000278", "0.00000000000167", "0.000000000000833", "0.000000000000278"]
    assert done.stdout.splitlines()[-1].split() == ["total", *kwh, "0"]


@pytest.mark.slow
def test_carbon_estimate(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The same lines from every Python: multiplied in fractions, tables read from the package."""
    code = "from carbon_acct.cli import estimate; sys.exit(estimate.main())"
    done = python(code, "-G", "a100-sxm4-40gb:4", "--hours", "1", "--zone", "FR", "--pue", "1.2", "--compare")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2] == (
        "Carbon    x 44.18 g/kWh (FR, Ember 2024, yearly, lifecycle)    84.8 g     12.7 to 84.8 g"
    )
