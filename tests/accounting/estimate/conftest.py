# SPDX-License-Identifier: MIT
"""Runs carbon-estimate in this process, without any configuration of the host."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from carbon_acct.cli import estimate


@dataclass(frozen=True)
class Outcome:
    """What the command left behind."""

    status: int
    out: str
    err: str

    @property
    def figures(self) -> dict[str, Any]:
        """Of --json."""
        found: dict[str, Any] = json.loads(self.out)["estimate"]
        return found


Run = Callable[..., Outcome]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Run carbon-estimate with an empty configuration, unless the test names one."""
    for name in [*os.environ]:
        if name.startswith(("CARBON_ACCT_", "SBATCH_", "SLURM_")):
            monkeypatch.delenv(name)
    empty = tmp_path_factory.mktemp("conf") / "carbon-acct.conf"
    empty.write_text("[collector]\naggregators = http://127.0.0.1:9\n")
    monkeypatch.setenv("CARBON_ACCT_CONF", str(empty))

    def call(*words: str) -> Outcome:
        status = estimate.main(list(words))
        sys.stdout.flush()
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call
