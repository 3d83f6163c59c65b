# SPDX-License-Identifier: MIT
"""The collector's zipapp under every Python that a node may have: whole lives of jobs, not only its syntax."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carbon_collector import __version__
from interpreters import interpreter

if TYPE_CHECKING:
    from .process import Host

CHECKOUT = Path(__file__).parents[2]
ZIPAPP = CHECKOUT / "dist/carbon-collector"
JOULE = 1_000_000


@pytest.fixture(params=[9, 10, 11, 12, 13, 14], ids=lambda minor: f"3.{minor}")
def python(request: pytest.FixtureRequest) -> str:
    """One Python of this version."""
    return interpreter(f"3.{request.param}")


@pytest.fixture
def zipapp(tmp_path: Path) -> Path:
    """What `make zipapp` built, in a copy that nobody builds anew meanwhile."""
    sources = [source.stat().st_mtime for source in (CHECKOUT / "collector").rglob("*.py")]
    if not ZIPAPP.exists() or ZIPAPP.stat().st_mtime < max(sources):
        pytest.skip("dist/carbon-collector is not built, or is older than its sources: make zipapp")
    return Path(shutil.copy(ZIPAPP, tmp_path))


def test_the_zipapp_starts(python: str, zipapp: Path) -> None:
    """Byte code of another Python that lies in it is in nobody's way."""
    done = subprocess.run([python, "-IS", zipapp, "--version"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"carbon-collector {__version__}\n", "")


def test_a_job_lives_and_pays_under_every_python(python: str, zipapp: Path, host: Host) -> None:
    """Prolog, work, a collector killed and started again, epilog, shipping with a credential: the joules are all there."""
    host.program = [python, "-IS", str(zipapp)]
    host.start()
    host.ticket("prolog", 7, SLURM_JOB_END_TIME=str(int(time.time()) + 3600), SLURM_JOB_GPUS="0")
    host.node.start_job("7")
    host.node.burn("7", 0, 0.3)
    host.node.count(30 * JOULE)
    host.tick()
    host.kill()
    host.start()
    host.node.burn("7", 0, 0.2)
    host.node.count(10 * JOULE)
    host.node.end_job("7")
    host.ticket("epilog", 7)
    got = host.collect()

    assert got.is_closed(7)
    assert got.energy("cpu") == got.energy("dram") == 80 * JOULE
    assert 0 < (got.energy("cpu", 7) or 0) <= 80 * JOULE
    assert sum(row["cpu_us"] for row in got.of("job_slot", 7)) == 500_000
    assert got.is_conserved()
    assert "Traceback" not in host.said()
