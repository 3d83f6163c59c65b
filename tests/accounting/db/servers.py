# SPDX-License-Identifier: MIT
"""Real database servers from Debian's packages, each in a private folder and on a free port of loopback.

They do not wait for the disk (no fsync): a kill loses nothing of them, and power cuts are not what these tests are about.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

START_S = 60
UNPRIVILEGED: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
"""PostgreSQL refuses to run as root."""


def program(name: str, package: str, *folders: str) -> str:
    """Where a program is; skips the test where it is not."""
    found = shutil.which(name, path=os.pathsep.join((*folders, "/usr/sbin", "/usr/bin")))
    if found is None:
        pytest.skip(f"{name} is not installed (Debian's package {package})")
    return found


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on.

    They are below those that Linux gives to whoever connects: one of these might be taken before a server has it.
    """
    found: set[int] = set()
    while len(found) < count:
        port = 20_000 + secrets.randbelow(12_768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return list(found)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder of the server's own user."""
    with tempfile.TemporaryDirectory(prefix="carbon-db-", dir="/tmp", ignore_cleanup_errors=True) as name:
        if UNPRIVILEGED:
            shutil.chown(name, "nobody", "nogroup")
        yield Path(name)


@dataclass
class Server:
    """A server that can be stopped, killed and started again; always on the same port."""

    command: list[str]
    folder: Path
    url: str
    """Of the server, with `{}` for the database's name; the one that is always there is `home`."""
    home: str
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, *more: str, wait: bool = True) -> None:
        """Start it; it answers when this returns."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **UNPRIVILEGED,
            )
        if wait:
            self.wait()

    def wait(self, ready: Callable[[], object] | None = None) -> None:
        """Until it answers."""
        ready = ready or (lambda: self.query("SELECT 1"))
        deadline = time.monotonic() + START_S
        while True:
            with suppress(DBAPIError):
                if ready():
                    return
            assert self.process is not None
            log = (self.folder / "log").read_text(errors="replace")[-3000:]
            assert self.process.poll() is None, f"the server has ended: {log}"
            assert time.monotonic() < deadline, f"the server does not answer: {log}"
            time.sleep(0.05)

    def stop(self, number: signal.Signals | None = None) -> None:
        """End it, and wait until it has ended."""
        if self.process is not None:
            self.process.send_signal(number or self.stop_signal)
            self.process.wait(60)
            self.process = None

    def kill(self) -> None:
        """End it at once."""
        self.stop(signal.SIGKILL)

    def query(self, sql: str) -> list[Any]:
        """One statement, outside any transaction; its rows."""
        engine = create_engine(self.url.format(self.home), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                result = connection.execute(text(sql))
                return list(result.all()) if result.returns_rows else []
        finally:
            engine.dispose()

    def new_database(self, name: str) -> str:
        """Make an empty database; its URL."""
        self.query(f"CREATE DATABASE {name}")
        return self.url.format(name)


def mariadb_server(folder: Path, *options: str) -> Server:
    """A MariaDB server that has not been started."""
    install, server = program("mariadb-install-db", "mariadb-server"), program("mariadbd", "mariadb-server")
    data = folder / "data"
    made = [install, "--no-defaults", f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal"]
    made += ["--skip-name-resolve", "--innodb-flush-method=nosync"]
    subprocess.run(made, check=True, capture_output=True, cwd=folder, **UNPRIVILEGED)
    (port,) = free_ports(1)
    command = [server, "--no-defaults", f"--datadir={data}", f"--socket={folder}/socket", f"--pid-file={folder}/pid"]
    command += ["--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve"]
    command += ["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=64M"]
    return Server([*command, *options], folder, f"mariadb+pymysql://root@127.0.0.1:{port}/{{}}", "mysql")


def postgresql_server(folder: Path) -> Server:
    """A PostgreSQL server that has not been started."""
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    initdb, server = (program(name, "postgresql", *folders) for name in ("initdb", "postgres"))
    data = folder / "data"
    made = [initdb, f"--pgdata={data}", "--username=carbon", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
    subprocess.run([*made, "--no-sync"], check=True, capture_output=True, cwd=folder, **UNPRIVILEGED)
    (port,) = free_ports(1)
    command = [server, "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"]
    url = f"postgresql+psycopg://carbon@127.0.0.1:{port}/{{}}"
    return Server(command, folder, url, "postgres", signal.SIGINT)  # SIGINT: fast shutdown, whoever is connected


KINDS = {"mariadb": mariadb_server, "postgresql": postgresql_server}


@contextmanager
def running(kind: str) -> Iterator[Server]:
    """A server that answers."""
    with private_folder() as folder:
        server = KINDS[kind](folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()


GALERA = "/usr/lib/galera/libgalera_smm.so"


class Galera:
    """A MariaDB Galera Cluster of three nodes on this machine."""

    def __init__(self, folder: Path) -> None:
        if not Path(GALERA).exists():
            pytest.skip("no Galera provider (Debian's package galera-4)")
        for name in ("rsync", "lsof"):
            program(name, name)  # the first copy of a node that joins is made with them
        self.ports = [free_ports(3) for _ in range(3)]
        self.nodes = [self._node(folder / f"n{number}", number) for number in range(3)]

    def _node(self, folder: Path, number: int) -> Server:
        folder.mkdir()
        if UNPRIVILEGED:
            shutil.chown(folder, "nobody", "nogroup")
        group, increments, transfer = self.ports[number]
        provider = f"gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{increments};gcache.size=16M"
        # The defaults notice a node that was killed after 5 s and more.
        provider += ";evs.suspect_timeout=PT3S;evs.keepalive_period=PT0.5S"
        others = ",".join(f"127.0.0.1:{ports[0]}" for ports in self.ports)
        return mariadb_server(
            folder,
            *("--wsrep-on=ON", f"--wsrep-provider={GALERA}", f"--wsrep-provider-options={provider}"),
            *(f"--wsrep-cluster-address=gcomm://{others}", f"--wsrep-node-address=127.0.0.1:{group}"),
            *("--wsrep-sst-method=rsync", f"--wsrep-sst-receive-address=127.0.0.1:{transfer}"),
            *("--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", f"--wsrep-node-name=n{number}"),
        )

    def start(self) -> None:
        """All nodes answer, and each knows of the others, when this returns."""
        first, *others = self.nodes
        first.start("--wsrep-new-cluster")
        for node in others:
            node.start(wait=False)
        for node in others:
            self.joined(node)

    def joined(self, node: Server, size: int = 3) -> None:
        """Wait until a node takes part in a cluster of `size`."""
        wanted = {"wsrep_ready": "ON", "wsrep_local_state_comment": "Synced", "wsrep_cluster_size": str(size)}
        names = ", ".join(f"'{name}'" for name in wanted)
        node.wait(lambda: dict(map(tuple, node.query(f"SHOW STATUS WHERE Variable_name IN ({names})"))) == wanted)

    def url(self, database: str, *order: int) -> str:
        """URLs of the nodes in this order, for [aggregator] database."""
        return " ".join(self.nodes[number].url.format(database) for number in order)

    def kill(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.kill()


@contextmanager
def running_galera() -> Iterator[Galera]:
    """A cluster that answers."""
    with private_folder() as folder:
        cluster = Galera(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()
