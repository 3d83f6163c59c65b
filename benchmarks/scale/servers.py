# SPDX-License-Identifier: MIT
"""A database of each kind in a private folder, waiting for the disk at each commit as a site's does; a munged."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

from accounting.db.servers import Server, mariadb_server, postgresql_server  # noqa: E402  the tests' own starters

KINDS = ("sqlite", "mariadb", "postgresql")
DURABLE = ("--innodb-flush-log-at-trx-commit=1", "--innodb-flush-method=O_DIRECT", "--innodb-buffer-pool-size=1G")


@contextlib.contextmanager
def database(kind: str, parent: Path) -> Iterator[str]:
    """The URL of an empty database under `parent`; the server is stopped and all of it removed in the end."""
    with tempfile.TemporaryDirectory(prefix="carbon-bench-", dir=parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if kind == "sqlite":
            yield f"sqlite:///{folder}/carbon-acct.db"
            return
        if os.geteuid() == 0:
            shutil.chown(name, "nobody", "nogroup")  # as whom the tests' servers run
        server = _server(kind, folder)
        try:
            server.start()
            yield server.new_database("carbon")
        finally:
            server.kill()


def _server(kind: str, folder: Path) -> Server:
    if kind == "mariadb":
        return mariadb_server(folder, *DURABLE)
    server = postgresql_server(folder)
    server.command = [word for word in server.command if word != "-F"] + ["-c", "shared_buffers=1GB"]
    return server


@contextlib.contextmanager
def munged() -> Iterator[str]:
    """The socket of a private munged."""
    program = shutil.which("munged", path="/usr/sbin:/usr/bin")
    if program is None:
        raise SystemExit("munged is not installed (Debian's package munge)")
    with tempfile.TemporaryDirectory(prefix="carbon-munge-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o400)
        files = [f"--{kind}-file={folder / kind}" for kind in ("key", "pid", "log", "seed")]
        command = [program, "--foreground", "--force", f"--socket={folder}/socket", *files]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not (folder / "socket").exists():
                if process.poll() is not None:
                    raise SystemExit("munged does not start")
                time.sleep(0.02)
            yield str(folder / "socket")
        finally:
            process.terminate()
            process.wait(10)
