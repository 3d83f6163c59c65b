# SPDX-License-Identifier: MIT
"""The answers to segments, as the real shipper of a node takes them from the real aggregator, and from an impostor."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from accounting.samples import job_slot, ledger, segment
from accounting.served import Served
from carbon_collector import munge
from carbon_collector.log import Log
from carbon_collector.spool.ship import Shipper
from carbon_collector.spool.spool import Spool


def spooled(folder: Path, body: bytes) -> Spool:
    """A spool with one segment."""
    spool = Spool(str(folder / "spool"), 1 << 20)
    (folder / "spool" / "n1.b0-07.00c0ffee.00000001.jsonl").write_bytes(body)
    return spool


def left(spool: Spool) -> list[str]:
    return sorted(path.name for path in Path(spool.folder).rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("body", "stays"),
    [
        (segment([ledger(), job_slot()]), 0),
        (segment([ledger(), b"tea"]), 1),
        (segment([ledger()], node="n9"), 1),
        (segment([ledger()])[:-5], 1),
    ],
    ids=["stored", "a line refused", "another node's", "torn"],
)
def test_the_aggregator_is_believed(served: Served, tmp_path: Path, body: bytes, stays: int) -> None:
    """A node takes the aggregator's receipt, and its refusals, as final: nothing waits in the spool itself."""
    spool = spooled(tmp_path, body)
    shipper = Shipper(spool, [served.url], served.munge_socket, Log(str(tmp_path / "log")))
    assert shipper.ship_all()
    assert not spool.segments()
    assert len(left(spool)) == stays


@contextmanager
def impostor(answers: Any) -> Iterator[str]:
    """Something that listens where the aggregator should, and answers as `answers` says to the body it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, content = answers(body)
            said = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [200, 403, 413, 422])
@pytest.mark.parametrize("forged", ["nothing", "a user's credential", "another segment's", "another status"])
def test_an_impostor_is_not_believed(served: Served, tmp_path: Path, status: int, forged: str) -> None:
    """Whoever listens on the port of an aggregator that is down has no segment forgotten, nor set aside."""
    body = segment([ledger(), job_slot()])
    spool = spooled(tmp_path, body)

    def answers(got: bytes) -> tuple[int, dict[str, Any]]:
        content: dict[str, Any] = {"segment": "x", "accepted": 2, "refused": [], "detail": "no"}
        digest = munge.digest(got)
        if forged == "a user's credential":
            content["credential"] = served.credential(munge.receipt(status, digest), 54001)
        elif forged == "another segment's":
            content["credential"] = served.credential(munge.receipt(status, "0" * 64))
        elif forged == "another status":
            content["credential"] = served.credential(munge.receipt(422 if status == 200 else 200, digest))
        return status, content

    with impostor(answers) as url:
        shipper = Shipper(spool, [url], served.munge_socket, Log(str(tmp_path / "log")))
        assert not shipper.ship_all()
    assert left(spool) == ["n1.b0-07.00c0ffee.00000001.jsonl"]
    assert len(spool.segments()) == 1
    assert Shipper(spool, [served.url], served.munge_socket, Log(str(tmp_path / "log"))).ship_all()
    assert not left(spool)
