# SPDX-License-Identifier: MIT
"""The program carbon-aggregator: it starts without Slurm, says when it is ready, and stops when told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accounting.samples import configure, ledger, segment
from carbon_collector import munge
from carbon_collector.errors import RequestError
from carbon_collector.http import request


@contextmanager
def running(config: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program and its URL, once it is ready."""
    command = [sys.executable, "-m", "carbon_acct.cli.aggregator", "--config", str(config)]
    env = os.environ | {"SLURM_CONF": "/nonexistent/slurm.conf"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            yield process, line.removeprefix("carbon-aggregator: listening on ")
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_life(tmp_path: Path, number: signal.Signals) -> None:
    """It starts although Slurm is down, answers, tells of Slurm once, and ends with status 0 when told."""
    with running(configure(tmp_path, aggregator_listen="127.0.0.1:0")) as (process, url):
        assert request("GET", url, "/healthz", b"", {}).status == 200
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err.count("\n") <= 1
    assert "Traceback" not in err
    assert (tmp_path / "carbon-acct.db").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_stop_with_a_request_on_its_way(tmp_path: Path, munge_socket: str) -> None:
    """Told to stop it answers the request that it has begun to read, takes no new one, and ends with status 0."""
    body = segment([ledger()])
    credential = munge.encode(munge.digest(body), munge_socket)
    head = f"POST /v1/segments HTTP/1.1\r\nHost: x\r\nAuthorization: MUNGE {credential}\r\nContent-Length: {len(body)}\r\n\r\n"
    with running(configure(tmp_path, aggregator_listen="127.0.0.1:0", slurm_munge_socket=munge_socket)) as (
        process,
        url,
    ):
        port = int(url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as idle,
            socket.create_connection(("127.0.0.1", port)) as busy,
        ):
            busy.sendall(head.encode() + body[:10])
            busy.settimeout(20)
            idle.settimeout(20)
            assert request("GET", url, "/healthz", b"", {}).status == 200  # the head has been read by then
            process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""
            with pytest.raises(RequestError):
                request("GET", url, "/healthz", b"", {})
            busy.sendall(body[10:])
            answer = b"".join(iter(lambda: busy.recv(65536), b""))
        process.communicate(timeout=60)
    assert answer.startswith(b"HTTP/1.1 503")  # Slurm, which is not there, has not told its nodes
    assert process.returncode == 0


def test_json_log(tmp_path: Path) -> None:
    """With log_format = json every line on standard error is an object, from the first: that the database is away."""
    away = {"aggregator_database": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    config = configure(tmp_path, aggregator_listen="127.0.0.1:0", aggregator_log_format="json", **away)
    with running(config) as (process, url):
        assert request("GET", url, "/healthz", b"", {}).status == 503
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    for line in (first + rest).splitlines():
        assert json.loads(line)["program"] == "carbon-aggregator"
    assert "starting without it" in json.loads(first)["message"]


@pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed (Debian's package systemd)"
)
def test_unit(tmp_path: Path) -> None:
    """Systemd understands every line of the unit, and finds the service well confined."""
    unit = tmp_path / "carbon-aggregator.service"
    text = (Path(__file__).parents[2] / "accounting" / unit.name).read_text()
    unit.write_text(text.replace("/usr/sbin/carbon-aggregator", "/bin/true"))  # not installed here
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_again_on_its_database(tmp_path: Path) -> None:
    """A second start finds the database of the first."""
    for _ in range(2):
        with running(configure(tmp_path, aggregator_listen="127.0.0.1:0")) as (process, url):
            assert request("GET", url, "/healthz", b"", {}).status == 200
            process.terminate()
            process.wait(20)


def run(config: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "carbon_acct.cli.aggregator", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"site_zone": "GERMANY"}, "no such zone; did you mean DE (Germany)"),
        ({"aggregator_listen": "tea"}, "not an address"),
        ({"aggregator_listen": "192.0.2.1:6829"}, "cannot listen on 192.0.2.1:6829"),
        ({"aggregator_database": "tea"}, "not a database URL"),
        ({"aggregator_database": "sqlite:////proc/nothing/x.db"}, "database"),
        ({"site_pue": "0.9"}, "[site] pue: '0.9' is not a number between 1 and 10"),
        ({"site_zon": "DE"}, "did you mean 'zone'"),
    ],
)
@pytest.mark.slow
def test_bad_settings(tmp_path: Path, values: dict[str, str], reason: str) -> None:
    """What it cannot start with is one line that says what and where, and status 1."""
    status, err = run(configure(tmp_path, **({"aggregator_listen": "127.0.0.1:0"} | values)))
    assert status == 1
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_port_in_use(tmp_path: Path) -> None:
    """A port that is taken is one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, err = run(configure(tmp_path, aggregator_listen=f"127.0.0.1:{taken.getsockname()[1]}"))
    assert status == 1
    assert "already in use" in err


@pytest.mark.slow
def test_newer_schema(tmp_path: Path) -> None:
    """A database of a newer release is refused, not touched."""
    import sqlite3

    from accounting.samples import new_site

    new_site(tmp_path).database.close()
    connection = sqlite3.connect(tmp_path / "carbon-acct.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    status, err = run(configure(tmp_path, aggregator_listen="127.0.0.1:0"))
    assert status == 1
    assert "newer than this program" in err
    assert err.count("\n") == 1
