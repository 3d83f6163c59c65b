# SPDX-License-Identifier: MIT
"""Collected only when asked for (`-m site`): each release of Debian is fetched from its archive the first time."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out of every other run."""
    return None if "site" in config.getoption("markexpr").split() else True
