# SPDX-License-Identifier: MIT
"""The collector's zipapp under every Python that a node may have: whole lives of jobs, not only its syntax.

`python3.9`, `python3.10`, ... are looked for among pyenv's and on PATH; `CARBON_ACCT_PYTHON39`, `CARBON_ACCT_PYTHON310`, ...
name others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carbon_collector import __version__

if TYPE_CHECKING:
    from .process import Host

CHECKOUT = Path(__file__).parents[2]
ZIPAPP = CHECKOUT / "dist/carbon-collector"
JOULE = 1_000_000


def of_pyenv(name: str) -> str | None:
    """The interpreter itself, where pyenv has it: its shim on PATH runs only the versions that are switched on."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return next((str(path) for path in sorted(root.glob(f"versions/{name[6:]}.*/bin/{name}"))), None)


@pytest.fixture(params=[9, 10, 11, 12, 13, 14], ids=lambda minor: f"3.{minor}")
def python(request: pytest.FixtureRequest) -> str:
    """One Python of this version."""
    name, variable = f"python3.{request.param}", f"CARBON_ACCT_PYTHON3{request.param}"
    found = os.environ.get(variable) or of_pyenv(name) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is neither pyenv's nor on PATH, and {variable} names none")
    asked = [found, "-ISc", "import sys; print(sys.version_info[1])"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.stdout.strip() != str(request.param):
        pytest.skip(f"{found} is no {name} that runs (a shim of none?); {variable} may name another")
    return found


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
