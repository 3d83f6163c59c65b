# SPDX-License-Identifier: MIT
"""One machine for all tests here, with the product installed and nothing of it running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import cluster

from . import machine as machines
from . import site
from .machine import Machine


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """An accounting host that is a compute node as well: munge, MariaDB, slurmdbd, slurmctld by Debian's units."""
    lack = machines.missing() or cluster.missing()
    if lack:
        pytest.skip(f"the units cannot be run: {lack}")
    with Machine(tmp_path_factory.mktemp("units") / "machine") as machine:
        site.prepare(machine)
        yield machine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for one more machine."""
    lack = machines.missing()
    if lack:
        pytest.skip(f"no machine can be booted: {lack}")
    return tmp_path / "machine"
