# SPDX-License-Identifier: MIT
"""Fixtures of the accounting host: a site, stand-ins for Slurm, a private munged, a server on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounting.served import Served, serve, wait_for
from accounting.slurm_programs import StandIn
from carbon_acct.site import Site
from carbon_acct.sync.slurm import Poller


@pytest.fixture
def slurm(tmp_path: Path) -> StandIn:
    """Stand-ins for Slurm's programs."""
    return StandIn(tmp_path / "bin")


@pytest.fixture
def poller(site: Site, slurm: StandIn) -> Poller:
    """A poller that nobody has started."""
    return Poller(site, slurm.programs, "sacct", 60)


@pytest.fixture(scope="session")
def munge_socket() -> Iterator[str]:
    """The socket of a private munged."""
    program = shutil.which("munged", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("munged is not installed (Debian's package munge)")
    if os.geteuid() != 0:
        pytest.skip("not root: only root's credentials may deliver segments")
    with tempfile.TemporaryDirectory(prefix="carbon-munge-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        key = folder / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = [f"--{kind}-file={folder / kind}" for kind in ("key", "pid", "log", "seed")]
        process = subprocess.Popen([program, "--foreground", "--force", f"--socket={folder}/socket", *files])
        try:
            wait_for((folder / "socket").exists)
            yield str(folder / "socket")
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def served(site: Site, poller: Poller, munge_socket: str) -> Iterator[Served]:
    """The API over real HTTP, with a real munged, after one poll of Slurm's stand-ins."""
    poller.poll()
    yield from serve(site, poller, munge_socket)
