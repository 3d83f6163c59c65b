# SPDX-License-Identifier: MIT
"""One site for all tests here, and two releases of the packages. Collected only when asked for (`-m site`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packages.building import build

from .site import Site, missing


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out of every other run."""
    return None if "site" in config.getoption("markexpr").split() else True


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of this release."""
    return build(tmp_path_factory.mktemp("newer"))


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of a release before it."""
    return build(tmp_path_factory.mktemp("before"), "--version", "0.0.9")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, newer: Path) -> Iterator[Site]:
    """A site that has never heard of us."""
    lack = missing()
    if lack:
        pytest.skip(f"no site can be made: {lack}")
    with Site(tmp_path_factory.mktemp("rollout") / "site", newer) as site:
        yield site
