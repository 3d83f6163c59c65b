# SPDX-License-Identifier: MIT
"""The notebook runs from its first cell to its last, and says what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from job.livenode import LiveNode

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "tracking.ipynb"


def test_the_notebook_trains_plots_and_states(node: LiveNode, environment: dict[str, str]) -> None:
    """All cells run in order in a job: six epochs, a prediction that narrows, and a statement of the measured energy."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    table = [line for line in done.stdout.splitlines() if line.startswith("epoch ")]
    widths = [float(line.split("(")[1].split()[2]) - float(line.split("(")[1].split()[0]) for line in table]

    assert done.returncode == 0, done.stderr
    assert len(table) == 6
    assert widths[0] > widths[2] > widths[-1] == 0
    assert "energy of the epoch, J" in done.stdout
    assert "Wh of electricity on 1 node(s), measured by simulated counters" in done.stdout.splitlines()[-1]
