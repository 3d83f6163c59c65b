# SPDX-License-Identifier: MIT
"""A node with a live file, and programs that run as parts of its job."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from job.livenode import LiveNode

JOB = Path(__file__).parents[2] / "job"


def wave(t: float) -> float:
    """A CPU whose power goes up and down."""
    return 100 + 60 * math.sin(2 * math.pi * t / 3)


def steady(_t: float) -> float:
    """A GPU under full load."""
    return 300.0


@pytest.fixture
def munge_socket() -> Iterator[str]:
    """The socket of a private munged."""
    program = shutil.which("munged", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("munged is not installed (Debian's package munge)")
    with tempfile.TemporaryDirectory(prefix="carbon-munge-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        key = folder / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = [f"--{kind}-file={folder / kind}" for kind in ("key", "pid", "log", "seed")]
        process = subprocess.Popen([program, "--foreground", "--force", f"--socket={folder}/socket", *files])
        try:
            until = time.monotonic() + 60
            while not (folder / "socket").exists() and time.monotonic() < until:
                time.sleep(0.05)
            yield str(folder / "socket")
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LiveNode]:
    """A node whose collector runs."""
    with LiveNode(tmp_path / "run", {"cpu": wave, "gpu": steady}) as live:
        yield live


@pytest.fixture
def environment(node: LiveNode, tmp_path: Path) -> dict[str, str]:
    """The environment of a process of the job, with a history of its own."""
    return {
        **node.environment(),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(JOB),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


@pytest.fixture
def carbon_track(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run carbon-track with arguments."""

    def run(*arguments: str, env: dict[str, str] | None = None, **more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "carbon_job", *arguments],
            env=environment if env is None else env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **more,
        )

    return run


@pytest.fixture
def program(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Python program of the job."""

    def run(text: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", text],
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run
