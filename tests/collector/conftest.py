# SPDX-License-Identifier: MIT
"""Fixtures of the node's side: a private munged, an aggregator, a host."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from carbon_collector import munge
from carbon_collector.errors import MungeError

from .gpus import SOURCE
from .node import FileNode
from .process import Aggregator, Host, eventually, stopping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def munge_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Socket of a munged of our own."""
    program = shutil.which("munged", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("munged is not installed (Debian: apt-get install munge)")
    folder = tmp_path_factory.mktemp("munge")
    folder.chmod(0o711)
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    paths = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    args = [f"--{option}={folder / name}" for option, name in paths.items()]
    with subprocess.Popen([program, "--foreground", "--force", *args], stderr=subprocess.DEVNULL) as daemon:
        try:
            socket = str(folder / "socket")
            eventually(lambda: (folder / "socket").exists() and _answers(socket), "munged answers")
            yield socket
        finally:
            daemon.terminate()


def _answers(socket: str) -> bool:
    try:
        return bool(munge.encode("x", socket))
    except MungeError:
        return False


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in libnvidia-ml.so.1, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (Debian: apt-get install gcc libc6-dev)")
    path = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", path, SOURCE], check=True)
    return path


@pytest.fixture
def aggregator(munge_socket: str) -> Iterator[Aggregator]:
    """An aggregator that listens."""
    aggregator = Aggregator(munge_socket)
    aggregator.start()
    yield aggregator
    aggregator.stop()


@pytest.fixture
def node(tmp_path: Path) -> FileNode:
    """A node with cgroup v1, two sockets and their memory."""
    return FileNode(tmp_path / "node")


@pytest.fixture
def host(tmp_path: Path, node: FileNode, aggregator: Aggregator) -> Iterator[Host]:
    """The node with its collector, not yet started."""
    with stopping(Host(tmp_path, node, aggregator)) as host:
        yield host
