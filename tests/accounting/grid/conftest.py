# SPDX-License-Identifier: MIT
"""Fixtures of the grid's tests: a service on loopback, and providers that ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carbon_acct.grid.provider import Patience, Provider
from carbon_acct.grid.providers import PROVIDERS, Means, parse_spec

from .services import Reply, Service

TOKEN = "s3cr3t-t0ken"
QUICK = Patience(attempts=3, wait_s=0.001, wait_max_s=0.01, timeout_s=5, answer_s=5, max_bytes=1 << 20)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is not asked through a proxy of the machine's."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def service() -> Iterator[Service]:
    """A web service that answers 404 until it is told better."""
    running = Service(lambda _asked: Reply(status=404))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with a token that only its owner can read."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


Make = Callable[..., Provider]


@pytest.fixture
def make(service: Service, token_file: Path) -> Make:
    """Makes a provider from its text in the settings; it asks the service on loopback."""

    def made(text: str, zone: str = "DE", patience: Patience = QUICK) -> Provider:
        slugs = list(PROVIDERS)
        return parse_spec(
            text, zone, Means(dict.fromkeys(slugs, token_file), dict.fromkeys(slugs, service.url), patience)
        )

    return made
