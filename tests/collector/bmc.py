# SPDX-License-Identifier: MIT
"""The BMC of a node: a stand-in for the kernel's IPMI driver, compiled here, preloaded, and told what to do by a file."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .process import Host

JOULE = 1_000_000
SOURCE = Path(__file__).parent / "ipmi/ipmi.c"
PACE_S = 0.1


class Bmc:
    """A node's BMC."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.path = host.root / "ipmi0"
        self.env = {"LD_PRELOAD": str(_compiled(host.root)), "IPMI_STAND_IN": str(self.path)}
        host.configure(meters="powercap, dcmi", ipmi_device=str(self.path))

    def hurry(self) -> None:
        """It is asked every tenth of a second instead of every ten seconds."""
        pace = f"from carbon_collector.meters import dcmi; dcmi.PERIOD_S = {PACE_S}; "
        program = self.host.program
        program[-1] = program[-1].replace("from carbon_collector.cli", f"{pace}from carbon_collector.cli")

    def does(self, what: str) -> None:
        """From the next question on."""
        new = self.path.with_suffix(".new")
        new.write_text(f"{what}\n")
        new.replace(self.path)

    def start(self) -> Host:
        """Start the collector and a job that holds half of the node."""
        self.host.start(self.env)
        self.host.ticket("prolog", 1)
        return self.host

    def run(self, seconds: float, joules_each: float = 0.2) -> None:
        """Let time pass while the four RAPL zones count now and then."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.host.node.count(int(joules_each * JOULE))
            time.sleep(0.05)
            self.host.tick()


def _compiled(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (Debian: apt-get install gcc libc6-dev)")
    path = folder / "ipmi.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, SOURCE, "-ldl"], check=True)
    return path
