# SPDX-License-Identifier: MIT
"""A private munged and an aggregator's HTTP side that answers what a test put there; carbon-acct is the real one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from accounting.client.jobs import JOB
from carbon_acct.access.munge import decode
from carbon_acct.cli import acct
from carbon_collector import munge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Aggregator:
    """What the aggregator answers, and what it was asked."""

    url: str
    socket: str
    status: int = 200
    body: bytes = b""
    others: dict[str, Any] = field(default_factory=dict)
    """Answers of other paths than /v1/jobs; a path without one is not found."""
    queries: list[dict[str, str]] = field(default_factory=list)
    askers: list[int] = field(default_factory=list)

    def says(self, *jobs: dict[str, Any], warnings: tuple[str, ...] = ()) -> None:
        """Answer with these jobs from now on."""
        self.status, self.body = 200, json.dumps({"jobs": jobs, "warnings": warnings}).encode()

    def refuses(self, status: int, detail: str) -> None:
        """Answer with an error from now on."""
        self.status, self.body = status, json.dumps({"detail": detail}).encode()


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def munge_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Socket of a munged of our own."""
    program = shutil.which("munged", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("munge") is None:
        pytest.skip("munged and munge are not installed (Debian: apt-get install munge)")
    folder = tmp_path_factory.mktemp("munge")
    folder.chmod(0o711)
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    paths = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    args = [f"--{option}={folder / name}" for option, name in paths.items()]
    with subprocess.Popen([program, "--foreground", "--force", *args], stderr=subprocess.DEVNULL) as daemon:
        try:
            _await(lambda: _answers(folder / "socket"), f"munged does not answer: {daemon.args}")
            yield str(folder / "socket")
        finally:
            daemon.terminate()


@pytest.fixture
def aggregator(munge_socket: str) -> Iterator[Aggregator]:
    """An HTTP server on loopback that checks the credential as docs/http-api.md says and answers as told."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scheme, _, credential = self.headers["Authorization"].partition(" ")
            identity = decode(credential, munge_socket)
            assert scheme == "MUNGE"
            assert identity.payload == munge.request_digest("GET", self.path, b"")
            path = urlsplit(self.path).path
            status, body = state.status, state.body
            if path != "/v1/jobs":
                status = 200 if path in state.others else 404
                body = json.dumps(state.others.get(path, {"detail": "Not Found"})).encode()
            state.askers.append(identity.uid)
            state.queries.append(dict(parse_qsl(urlsplit(self.path).query, strict_parsing=True)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent: stderr belongs to the command under test."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state = Aggregator(f"http://127.0.0.1:{server.server_address[1]}", munge_socket)
        state.says()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, munge_socket: str) -> Callable[..., Path]:
    """Write the configuration file that carbon-acct reads; further settings as `section={"key": "value"}`."""

    def write(*urls: str, **sections: dict[str, str]) -> Path:
        sections["collector"] = {"aggregators": ", ".join(urls)} | sections.get("collector", {})
        sections["slurm"] = {"munge_socket": munge_socket} | sections.get("slurm", {})
        lines = [f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in sections.items()]
        path = tmp_path / "carbon-acct.conf"
        path.write_text("\n".join(lines), encoding="utf-8")
        monkeypatch.setenv("CARBON_ACCT_CONF", str(path))
        return path

    return write


@pytest.fixture
def carbon_acct(
    aggregator: Aggregator,
    configure: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., Outcome]:
    """Run carbon-acct against the aggregator and return what came of it."""
    configure(aggregator.url)
    for name in ("CARBON_ACCT_FORMAT", "SLURM_TIME_FORMAT"):
        monkeypatch.delenv(name, raising=False)

    def run(*argv: str) -> Outcome:
        try:
            status = acct.main(argv)
        except SystemExit as done:  # argparse's own --help and --version
            status = int(done.code or 0)
        sys.stdout.flush()
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture
def one_job(aggregator: Aggregator) -> None:
    """Let the aggregator answer with one job."""
    aggregator.says(JOB)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _answers(socket: Path) -> bool:
    return subprocess.run(["munge", "-n", "-S", socket], capture_output=True, check=False).returncode == 0


def _await(ready: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)
