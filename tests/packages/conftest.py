# SPDX-License-Identifier: MIT
"""Builds the packages once for all tests, and gives each test a fresh Debian root.

The tests are not even collected unless they are asked for (`-m site`): they take minutes, and Debian's archive the first time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .building import build
from .roots import Root, base, missing


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out of every other run."""
    return None if "site" in config.getoption("markexpr").split() else True


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole release."""
    return build(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of a release before it."""
    return build(tmp_path_factory.mktemp("older"), "--version", "0.0.9")


@pytest.fixture(scope="session")
def debian() -> Path:
    """A Debian root as debootstrap makes it, packed; kept below build/."""
    lack = missing()
    if lack:
        pytest.skip(f"no Debian root can be made: {lack}")
    return base()


@pytest.fixture
def root(debian: Path, tmp_path: Path) -> Iterator[Root]:
    """A fresh Debian root."""
    os.umask(0o022)
    with Root(debian, tmp_path / "root") as root:
        yield root
