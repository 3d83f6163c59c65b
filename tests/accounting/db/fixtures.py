# SPDX-License-Identifier: MIT
"""Fixtures: a fresh accounting database on each kind of server that the project supports."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from accounting.db.servers import Server, running
from accounting.samples import new_site
from carbon_acct.db.engine import Database
from carbon_acct.db.models import Base
from carbon_acct.site import Site

KINDS = ("sqlite", *(pytest.param(kind, marks=pytest.mark.servers) for kind in ("mariadb", "postgresql")))
"""What a test is run on that is run on all of them; those with a server are for `make test`."""


class Backend:
    """A kind of database; `fresh` gives the URL of one that is as the aggregator makes it, for [aggregator] database."""

    kind = "sqlite"

    def __init__(self, template: Path) -> None:
        self.template = template

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A copy of one that was made before: to make one takes longer than most tests."""
        with tempfile.TemporaryDirectory(prefix="carbon-db-") as folder:
            shutil.copy(self.template, folder)
            yield f"sqlite:///{folder}/{self.template.name}"

    @contextmanager
    def empty(self) -> Iterator[str]:
        """One without tables."""
        with tempfile.TemporaryDirectory(prefix="carbon-db-") as folder:
            yield f"sqlite:///{folder}/carbon-acct.db"

    @contextmanager
    def site(self, **values: str) -> Iterator[Site]:
        """A site in zone DE with a fresh database."""
        with self.fresh() as url, tempfile.TemporaryDirectory(prefix="carbon-site-") as folder:
            site = new_site(Path(folder), aggregator_database=url, **values)
            try:
                yield site
            finally:
                site.database.close()


class ServerBackend(Backend):
    """Databases of a server. They are emptied and used again."""

    def __init__(self, kind: str, server: Server) -> None:
        self.kind = kind
        self.server = server
        self._free: list[str] = []
        self._numbers = itertools.count()

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """One that nobody else uses now."""
        url = self._free.pop() if self._free else self._new()
        try:
            yield url
        finally:
            _empty(url)
            self._free.append(url)

    @contextmanager
    def empty(self) -> Iterator[str]:
        """One without tables."""
        name = f"empty{next(self._numbers)}"
        yield self.server.new_database(name)
        self.server.query(f"DROP DATABASE {name}")

    def _new(self) -> str:
        url = self.server.new_database(f"carbon{next(self._numbers)}")
        made = Database(url)
        made.open()
        made.close()
        return url


def _empty(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server."""
    with running("mariadb") as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server."""
    with running("postgresql") as server:
        yield server


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database as the aggregator makes it."""
    folder = tmp_path_factory.mktemp("fresh")
    new_site(folder).database.close()
    return folder / "carbon-acct.db"


@pytest.fixture(scope="session", params=KINDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each kind of database in turn."""
    if request.param == "sqlite":
        return Backend(request.getfixturevalue("fresh_database"))
    return ServerBackend(request.param, request.getfixturevalue(request.param))


@pytest.fixture
def site(backend: Backend) -> Iterator[Site]:
    """A site in zone DE with a fresh database, of each kind in turn."""
    with backend.site() as found:
        yield found
